"""pg8000, which speaks the protocol in Python alone: statements with parameters, prepared ones, a copy, a transaction."""

import io
import sys
from urllib.parse import urlsplit

import pg8000.native
from announce import DATABASE_URL, Announcer, comment, trace_id

MODE = sys.argv[1]
SERVER = urlsplit(DATABASE_URL)
POSTS = "SELECT id, author_id FROM blog_post ORDER BY id LIMIT 12"


def lazy(db, tag):
    """1 + N; each statement is parsed anew."""
    for _, author in db.run(POSTS + tag):
        db.run(f"SELECT name FROM blog_author WHERE id = :id{tag}", id=author)


def prepared(db, tag):
    """1 + N with a statement that is prepared once."""
    statement = db.prepare(f"SELECT name FROM blog_author WHERE id = :id{tag}")
    for _, author in db.run(f"{POSTS} OFFSET 0{tag}"):
        statement.run(id=author)
    statement.close()


def listed(db, tag):
    """The repaired page."""
    keys = [author for _, author in db.run(POSTS + tag)]
    db.run(f"SELECT name FROM blog_author WHERE id = ANY(CAST(:ids AS int[])){tag}", ids=keys)


def create(db, tag):
    """A transaction with a copy in it."""
    db.run("BEGIN")
    (post,), *_ = db.run(f"INSERT INTO blog_post (author_id, title) VALUES (2, :title) RETURNING id{tag}", title="new")
    db.run(f"UPDATE blog_post SET title = 'newer' WHERE id = :id{tag}", id=post)
    db.run("COPY blog_comment (post_id, body) FROM STDIN", stream=io.StringIO("1\tcopied\n2\tcopied\n"))
    db.run("COMMIT")


def error(db, tag):
    """Fails when run, and when parsed."""
    for sql in ("INSERT INTO blog_author (name) VALUES ('author 1')", "SELECT nothing FROM blog_post WHERE id = :id"):
        try:
            db.run(sql + tag, **({"id": 1} if ":id" in sql else {}))
        except pg8000.native.DatabaseError:
            pass


COUNTED = {lazy: 13, prepared: 13, listed: 2, create: 3, error: 1}


def expectation(page, number):
    """What pgtally must say about a page."""
    linked = {"linked": "blog_post.author_id"} if page in (lazy, prepared) else {}
    if MODE == "trace":
        route = f"/{page.__name__}"
        return {**linked, "level": ["trace"], "route": route, "key": f"trace:{trace_id(number)}"}
    # No gap is before the first.
    level = ["session"] if number == 1 else ["idle", "transaction"]
    return {**linked, "level": level, "route": f"pg8000-{MODE}", "needs_gap": True}


def main():
    """Every page on one connection."""
    announcer = Announcer()
    options = {"host": SERVER.hostname, "port": SERVER.port, "database": SERVER.path[1:]}
    with pg8000.native.Connection(SERVER.username, **options, application_name=f"pg8000-{MODE}") as db:
        for page, counted in COUNTED.items():
            number = announcer.number + 1
            tag = f" {comment(number, '/' + page.__name__)}" if MODE == "trace" else ""
            with announcer.request(page.__name__, counted=counted, **expectation(page, number)):
                page(db, tag)


main()
