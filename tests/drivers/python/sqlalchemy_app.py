"""SQLAlchemy's ORM over psycopg: one Session per request, as web frameworks use it. The argument names the configuration.
"""

import itertools
import sys

from announce import DATABASE_URL, Announcer, comment, trace_id
from blog_models import ALL_POSTS, AUTHORS_WITH_POSTS, COUNTED, FIRST_AUTHORS, LINKED, POSTS_JOINED, Author, Post
from sqlalchemy import create_engine, event, exc
from sqlalchemy.orm import Session

MODE = sys.argv[1]
ENGINE = create_engine(
    DATABASE_URL.replace("postgresql://", "postgresql+psycopg://"),
    pool_pre_ping=MODE in ("ping", "trace-ping"),
    pool_size=1,
    connect_args={"application_name": f"sqlalchemy-{MODE}"},
)
LEVEL = {"ping": "ping", "transaction": "transaction"}
CURRENT = {"comment": None}


@event.listens_for(ENGINE, "before_cursor_execute", retval=True)
def add_comment(connection, cursor, statement, parameters, context, executemany):
    """Appends the request's comment, as the sqlcommenter libraries do."""
    make = CURRENT["comment"]
    # The driver reads a percent sign as the start of a placeholder.
    return (statement + " " + make().replace("%", "%%") if make else statement), parameters


def lazy(session):
    """1 + N: every post loads its author, unless the session has it already."""
    return [post.author.name for post in session.scalars(ALL_POSTS)]


def children(session):
    """1 + N the other way: every author loads its posts."""
    return [len(author.posts) for author in session.scalars(FIRST_AUTHORS)]


def joined(session):
    """The lazy page with a join."""
    return [post.author.name for post in session.scalars(POSTS_JOINED)]


def prefetched(session):
    """Two statements for any number of authors."""
    return [len(author.posts) for author in session.scalars(AUTHORS_WITH_POSTS)]


def create(session):
    """Writes, commits, and reads what the commit has expired: in a transaction of its own."""
    post = Post(author_id=2, title="new")
    session.add(post)
    session.commit()
    return post.title


def error(session):
    """A statement that fails and rolls back."""
    session.add(Author(name="author 1"))
    try:
        session.commit()
    except exc.IntegrityError:
        session.rollback()


PAGES = (lazy, children, joined, prefetched, create, error)


def tagged_comment(number, page):
    """What a tagged request's statements carry in this configuration."""
    if MODE.startswith("trace"):
        spans = itertools.count()
        return lambda: comment(number, f"/{page}", next(spans))
    return lambda: f"/*request_id='r-{number}',route='%2F{page}'*/"


def expectation(page, number):
    """What pgtally must say about a page in this configuration."""
    # What a commit has expired is read again: of one request, where the application names it.
    again = {"other_kinds": "reread_after_write"} if page == "create" else {}
    if MODE.startswith("trace"):
        return {"level": ["trace"], "route": f"/{page}", "key": f"trace:{trace_id(number)}"} | again
    if MODE == "tag":
        return {"level": ["tag"], "route": f"/{page}", "key": f"request_id:r-{number}"} | again
    # A commit gives the connection back to the pool: what follows is a check-out, and a transaction, of its own.
    units = 2 if page == "create" else 1
    return {"level": [LEVEL[MODE]], "route": f"sqlalchemy-{MODE}", "units": units}


def main():
    """Runs every page once, after opening the connection."""
    announcer = Announcer()
    with announcer.request("warm-up", only_total=True), Session(ENGINE) as session:
        joined(session)
    for view in PAGES:
        page, number = view.__name__, announcer.number + 1
        if MODE not in LEVEL:
            CURRENT["comment"] = tagged_comment(number, page)
        expected = expectation(page, number)
        with announcer.request(page, counted=COUNTED[page], linked=LINKED.get(page), **expected):
            with Session(ENGINE) as session:
                view(session)


main()
