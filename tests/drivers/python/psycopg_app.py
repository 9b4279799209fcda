"""psycopg without a framework: simple and extended protocol, pipelines, cursors, COPY, errors, and requests that are
named by a setting instead of a comment. The argument names the configuration.
"""

import sys

import psycopg
from announce import DATABASE_URL, Announcer, trace_id

MODE = sys.argv[1]
AUTHOR = "SELECT name FROM blog_author WHERE id = %s"
POSTS = "SELECT id, author_id FROM blog_post ORDER BY id LIMIT 12"


def connect(**options):
    """A connection through the address under test."""
    options = {"application_name": f"psycopg-{MODE}", "autocommit": True} | options
    return psycopg.connect(DATABASE_URL, **options)


def lazy(db):
    """1 + N; from the sixth execution on, psycopg uses a named statement."""
    for _, author in db.execute(POSTS).fetchall():
        db.execute(AUTHOR, [author])


def lazy_literals(db):
    """1 + N with literals in simple queries."""
    with psycopg.ClientCursor(db) as cursor:
        for _, author in cursor.execute(POSTS).fetchall():
            cursor.execute(AUTHOR, [author])


def lazy_widths(db):
    """1 + N whose keys change their type on the wire with their size."""
    sql = "SELECT author_id * 30000000::bigint + 1 AS big, author_id FROM blog_post ORDER BY id LIMIT 12"
    for big, author in db.execute(sql).fetchall():
        db.execute("SELECT name FROM blog_author WHERE id = %s", [author])
        db.execute("SELECT %s::bigint", [big])


def listed(db):
    """The repaired page."""
    keys = [author for _, author in db.execute(POSTS)]
    db.execute("SELECT name FROM blog_author WHERE id = ANY(%s)", [keys])


def many(db):
    """executemany: one pipeline of 20 statements."""
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO blog_comment (post_id, body) VALUES (%s, %s)", [(1, f"many {n}") for n in range(20)]
        )


def pipelined(db):
    """Twenty reads in one round trip, and an error in the middle of a pipeline: what follows it is skipped."""
    with db.pipeline():
        for number in range(1, 21):
            db.execute("SELECT title FROM blog_post WHERE id = %s", [number])
    try:
        with db.pipeline():
            db.execute("SELECT count(*) FROM blog_post")
            db.execute("SELECT 1 / (id - id) FROM blog_post")
            db.execute("SELECT count(*) FROM blog_author")
    except psycopg.Error:
        pass


def several(db):
    """Several commands in one simple query, with literals that hold semicolons."""
    db.execute(
        "BEGIN; UPDATE blog_post SET body = 'a;b' WHERE id = 1; SAVEPOINT s; DELETE FROM blog_comment WHERE body = ';';"
        "RELEASE s; SELECT $$;$$ AS x, title FROM blog_post; /* ; */ COMMIT;"
    )


def copies(db):
    """COPY in both directions, between other statements."""
    with db.cursor() as cursor:
        with cursor.copy("COPY blog_comment (post_id, body) FROM STDIN") as copy:
            for number in range(50):
                copy.write_row((1, f"copied {number}"))
        with cursor.copy("COPY (SELECT * FROM blog_comment) TO STDOUT") as copy:
            for _ in copy:
                pass
        cursor.execute("SELECT count(*) FROM blog_comment")


def cursors(db):
    """1 + N behind a cursor with a name."""
    with db.transaction(), db.cursor("posts") as cursor:
        cursor.itersize = 5
        cursor.execute("SELECT id, author_id AS writer FROM blog_post ORDER BY id LIMIT 12")
        for _, author in cursor:
            db.execute(AUTHOR, [author])


def errors(db):
    """Statements that fail: when run (counted), when bound or parsed (never run), within a transaction that is over."""
    tries = [
        ("SELECT 1 / (id - id) FROM blog_post", None),
        ("SELECT name FROM blog_author WHERE id = %s::int", ["x"]),
        ("SELECT nothing FROM blog_post WHERE id = %s", [1]),
        ("INSERT INTO blog_author (name) VALUES (%s)", ["author 1"]),
        ("SELECT nothing FROM blog_post", None),
        ("BEGIN", None),
        ("SELECT 1 / (id - id) FROM blog_post", None),
        ("SELECT name FROM blog_author", None),
        ("SELECT name FROM blog_author WHERE id = %s", [1]),
        ("ROLLBACK", None),
    ]
    for sql, parameters in tries:
        try:
            db.execute(sql, parameters)
        except psycopg.Error:
            pass


def syntax_error(db):
    """Text that no parser accepts is no statement, in either protocol."""
    for sql, parameters in (("SELEC name FROM blog_author", None), ("SELECT FROM WHERE %s", [1])):
        try:
            db.execute(sql, parameters)
        except psycopg.Error:
            pass
    db.execute("SELECT count(*) FROM blog_author")


def housekeeping(db):
    """Everything that is not counted, around one statement that is."""
    with db.transaction():
        db.execute("SET LOCAL statement_timeout = '5s'")
        db.execute("SAVEPOINT one")
        db.execute("SELECT count(*) FROM blog_author")
        db.execute("ROLLBACK TO one")
    for sql in ("LISTEN news", "UNLISTEN *", "SHOW server_version", "SELECT 1", ";", "", "-- ping", "DISCARD PLANS"):
        db.execute(sql)
    db.execute("RESET ALL")


PAGES = {
    lazy: 13, lazy_literals: 13, lazy_widths: 25, listed: 2, many: 20, pipelined: 22, several: 3, copies: 3,
    cursors: 13, errors: 5, syntax_error: 1, housekeeping: 1,
}
LINKED = {page.__name__: "blog_post.author_id" for page in (lazy, lazy_literals, lazy_widths, cursors)}


def run_plain(announcer):
    """A connection of its own for each page: the session is the unit."""
    for page, counted in PAGES.items():
        name = page.__name__
        level = "transaction" if page in (several, cursors, housekeeping) else "session"
        expected = {"level": [level], "route": f"psycopg-{name}", "linked": LINKED.get(name)}
        with announcer.request(name, counted=counted, **expected):
            with connect(application_name=f"psycopg-{name}") as db:
                page(db)


def run_idle(announcer):
    """One connection for all pages, with nothing but pauses between them."""
    with connect() as db:
        with announcer.request("warm-up", only_total=True, needs_gap=True):
            listed(db)
        for page, counted in PAGES.items():
            if page is housekeeping:
                continue
            name = page.__name__
            level = "transaction" if page in (several, cursors) else "idle"
            expected = {"level": [level], "route": "psycopg-idle", "needs_gap": True}
            if name != "lazy_literals":
                # Its shapes are those of `lazy`, and loops of one route with the same two shapes are one finding.
                expected["linked"] = LINKED.get(name)
            with announcer.request(name, counted=counted, **expected):
                page(db)


def set_for_session(db, number):
    """SET lasts until it is replaced."""
    db.execute(f"SET pgtally.request = 'route=/set,id=g{number}'")
    lazy(db)


def set_for_transaction(db, number):
    """SET LOCAL lasts until the transaction ends."""
    with db.transaction():
        db.execute(f"SET LOCAL pgtally.request = 'route=/local,id=g{number}'")
        lazy(db)


def set_by_function(db, number):
    """The function's value is a bound parameter."""
    with db.transaction():
        db.execute("SELECT set_config('pgtally.request', %s, true)", [f"route=/function,id=g{number}"])
        lazy(db)


def set_by_function_literal(db, number):
    """The function's value is a literal."""
    with db.transaction():
        db.execute(f"SELECT set_config('pgtally.request', 'route=/literal,id=g{number}', true)")
        listed(db)


def run_guc(announcer):
    """Requests that are named by a setting."""
    pages = [(set_for_session, "/set", 13), (set_for_transaction, "/local", 13), (set_by_function, "/function", 13),
             (set_by_function_literal, "/literal", 2), (set_for_session, "/set", 13)]
    with connect() as db:
        with announcer.request("warm-up", only_total=True):
            listed(db)
        for page, route, counted in pages:
            number = announcer.number + 1
            linked = "blog_post.author_id" if counted > 2 else None
            expected = {"level": ["guc"], "route": route, "key": f"guc:g{number}", "linked": linked}
            with announcer.request(page.__name__, counted=counted, **expected):
                page(db, number)
    number = announcer.number + 1
    expected = {"level": ["guc"], "route": "/startup", "key": f"guc:g{number}", "linked": "blog_post.author_id"}
    with announcer.request("startup", counted=13, **expected):
        with connect(options=f"-c pgtally.request=route=/startup,id=g{number}") as db:
            lazy(db)


def run_application_name(announcer):
    """A worker that names each job by `application_name`."""
    with connect() as db:
        with announcer.request("warm-up", only_total=True):
            listed(db)
        for job in ("mail", "invoice", "mail"):
            linked = "blog_post.author_id"
            expected = {"level": ["application_name"], "route": f"job {job}", "linked": linked}
            with announcer.request(job, counted=13, **expected):
                db.execute(f"SET application_name = 'job {job}'")
                lazy(db)


def run_dialects(announcer):
    """Comments as various libraries write them, before and after the statement."""
    def trace(number):
        return f"00-{trace_id(number)}-00000000000000{number:02x}-01"

    dialects = [
        ("sqlcommenter", "trace", "/dialect", lambda n: ("", f" /*route='%2Fdialect',traceparent='{trace(n)}'*/")),
        ("sqlcommenter, semicolon", "trace", "/dialect",
         lambda n: ("", f" /*route='%2Fdialect',traceparent='{trace(n)}'*/;")),
        ("prisma", "trace", "psycopg-dialects", lambda n: ("", f" /* traceparent={trace(n)} */")),
        ("datadog", "trace", "psycopg-dialects",
         lambda n: (f"/*dddbs='blog',dde='test',ddps='web',ddpv='1.2',traceparent='{trace(n)}'*/ ", "")),
        ("two comments", "trace", "/dialect",
         lambda n: (f"/* the list */ /*traceparent='{trace(n)}'*/ ", " /*route='%2Fdialect'*/")),
        ("request id", "tag", "/dialect", lambda n: ("", f" /*request_id='r{n}',route='%2Fdialect'*/")),
        ("job id", "tag", "mailer", lambda n: ("", f" /*job_id:r{n},job:mailer*/")),
    ]
    with connect(autocommit=True) as db, psycopg.ClientCursor(db) as cursor:
        with announcer.request("warm-up", only_total=True):
            listed(db)
        for name, level, route, make in dialects:
            number = announcer.number + 1
            before, after = make(number)
            key = {"request id": f"request_id:r{number}", "job id": f"job_id:r{number}"}.get(
                name, f"trace:{trace_id(number)}"
            )
            with announcer.request(name, counted=3, level=[level], route=route, key=key):
                for author in (1, 2):
                    cursor.execute(before + AUTHOR + after.replace("%", "%%"), [author])
                # What looks like a comment inside a literal is none.
                cursor.execute(f"{before}SELECT '/*traceparent=''{trace(99)}''*/' AS x FROM blog_author{after}")


RUN = {
    "plain": run_plain, "idle": run_idle, "guc": run_guc, "application_name": run_application_name,
    "dialects": run_dialects,
}
RUN[MODE](Announcer())
