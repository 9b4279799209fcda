"""Everything psycopg has, and so libpq: the argument is the major version of libpq that must be the one loaded."""

import os
import sys

import psycopg

CONNECTION = f"host=127.0.0.1 port={os.environ['PORT']} user=postgres dbname=postgres connect_timeout=20"
ALL = "SELECT * FROM wire WHERE id <= %s ORDER BY id"


def attempt(db, sql, *arguments, **options):
    """Runs what fails and prints how."""
    try:
        db.execute(sql, *arguments, **options)
        print("no error")
    except psycopg.Error as error:
        print(error.sqlstate, error.diag.message_primary, error.diag.source_function)


def statements(db):
    """Simple, extended, binary and prepared ones."""
    print(db.execute("SELECT count(*), sum(big) FROM wire").fetchall())
    for binary in (False, True):
        print(db.execute(ALL, [6], binary=binary).fetchall())
    for number in range(8):
        print(db.execute("SELECT name FROM wire WHERE id = %s", [number], prepare=True).fetchone())
    with psycopg.ClientCursor(db) as cursor:
        cursor.execute("SELECT 1; SELECT name FROM wire WHERE id = 2; SELECT 3")
        while True:
            print(cursor.fetchall())
            if not cursor.nextset():
                break
    print(db.execute("SELECT repeat('x', 3000000)").fetchone()[0].count("x"))
    print(db.execute("SELECT length(%s)", ["y" * 3_000_000]).fetchone())


def transactions(db):
    """Savepoints, errors, cursors with and without a name, and everything taken back."""
    with db.transaction(force_rollback=True):
        db.execute("INSERT INTO wire_written VALUES (1, 'one')")
        try:
            with db.transaction():
                db.execute("INSERT INTO wire_written VALUES (1, 'again')")
        except psycopg.errors.UniqueViolation as error:
            print(error.sqlstate, error.diag.constraint_name)
        with db.cursor("named", scrollable=True) as cursor:
            cursor.execute("SELECT id FROM wire ORDER BY id")
            print(cursor.fetchmany(7), cursor.fetchone())
            cursor.scroll(-3)
            print(cursor.fetchone())
        with db.cursor() as cursor:
            cursor.executemany("INSERT INTO wire_written VALUES (%s, %s) RETURNING id", [(n, f"n{n}") for n in range(2, 30)], returning=True)
            print(cursor.fetchone(), cursor.nextset(), cursor.fetchone())
        print(db.execute("SELECT count(*) FROM wire_written").fetchone())
    attempt(db, "SELECT nothing")
    attempt(db, "SELEKT")
    attempt(db, "SELECT 1 / (id - id) FROM wire")
    attempt(db, "SELECT name FROM wire WHERE id = %s::int", ["x"])


def copies(db):
    """COPY both ways, with errors early and late."""
    with db.transaction(force_rollback=True), db.cursor() as cursor:
        with cursor.copy("COPY wire_written FROM STDIN") as copy:
            for number in range(1000):
                copy.write_row((number, f"row {number}"))
        with cursor.copy("COPY wire_written TO STDOUT") as copy:
            print(sum(len(piece) for piece in copy))
        with cursor.copy("COPY wire TO STDOUT (FORMAT binary)") as copy:
            print(sum(len(piece) for piece in copy))
    for rows in ([(1, "a"), (1, "b")], [("no number", "a")]):
        try:
            with db.cursor() as cursor, cursor.copy("COPY wire_written FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            print(error.sqlstate, error.diag.context)
    try:
        with db.cursor() as cursor, cursor.copy("COPY wire_written FROM STDIN") as copy:
            copy.write_row((1, "a"))
            raise KeyError
    except KeyError:
        print("given up")


def pipelines(db):
    """Many in one go, and an error in the middle."""
    with db.pipeline() as pipeline:
        results = [db.execute("SELECT %s::int, name FROM wire WHERE id = %s", [n, n]) for n in range(1, 60)]
        pipeline.sync()
        print([result.fetchone() for result in results])
    try:
        with db.pipeline():
            db.execute("INSERT INTO wire_written VALUES (77, 'x')")
            db.execute("SELECT 1 / (id - id) FROM wire")
            db.execute("SELECT name FROM wire")
    except psycopg.Error as error:
        print(error.sqlstate)
    print(db.execute("SELECT * FROM wire_written").fetchall())


def messages(db):
    """Notices, notifications and settings that are reported."""
    db.add_notice_handler(lambda diagnostic: print(diagnostic.severity, diagnostic.message_primary))
    db.execute("DO $$ BEGIN RAISE NOTICE 'look'; RAISE WARNING 'here'; END $$")
    db.execute("LISTEN mail")
    db.execute("SELECT pg_notify('mail', 'hello')")
    print([(notify.channel, notify.payload) for notify in db.notifies(timeout=0)])
    db.execute("SET application_name = 'other'; SET timezone = 'Asia/Tokyo'; SET client_encoding = 'LATIN1'")
    print(db.info.parameter_status("application_name"), db.info.parameter_status("TimeZone"), db.info.encoding)
    print(db.execute("SELECT name FROM wire WHERE id = 1").fetchone())
    db.execute("RESET ALL")


print(psycopg.pq.version() // 10_000)
assert str(psycopg.pq.version() // 10_000) == sys.argv[1], "another libpq than the one wanted"
with psycopg.connect(CONNECTION, autocommit=True, application_name="wire") as connection:
    print(connection.info.server_version, connection.pgconn.protocol_version)
    for part in (statements, transactions, copies, pipelines, messages):
        part(connection)
for wrong in ("dbname=nothing", "user=nobody", "options='-c no_such=1'", "options='-c search_path=pg_catalog'"):
    try:
        with psycopg.connect(f"{CONNECTION} {wrong}") as connection:
            print(connection.execute("SHOW search_path").fetchone())
    except psycopg.OperationalError as error:
        print(str(error).rsplit("FATAL", 1)[-1])
