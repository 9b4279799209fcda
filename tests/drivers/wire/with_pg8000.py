"""Everything pg8000 has, which speaks the protocol in Python alone: prepared statements, COPY, notifications, errors."""

import io
import os

import pg8000.native

SERVER = {"host": "127.0.0.1", "port": int(os.environ["PORT"]), "database": "postgres"}


def attempt(db, sql, **options):
    """Runs what fails and prints how."""
    try:
        print("no error", db.run(sql, **options))
    except pg8000.native.DatabaseError as error:
        print(sorted(error.args[0].items()))


def statements(db):
    """Simple, with parameters, prepared."""
    print(db.run("SELECT 1; SELECT 2"))
    for row in db.run("SELECT * FROM wire WHERE id <= :most ORDER BY id", most=6):
        print(row)
    print([(column["name"], column["type_oid"]) for column in db.columns])
    prepared = db.prepare("SELECT name FROM wire WHERE id = :id")
    print([prepared.run(id=number) for number in range(1, 9)])
    prepared.close()
    print(len(db.run("SELECT repeat('z', 2000000)")[0][0]), db.run("SELECT length(:text)", text="y" * 2_000_000))
    print(db.run("SELECT :a::uuid, :b::jsonb, :c::int[]", a=str(__import__("uuid").UUID(int=7)), b='{"a": 1}', c="{1,2}"))


def transactions(db):
    """Savepoints, an error, everything taken back."""
    db.run("START TRANSACTION")
    db.run("INSERT INTO wire_written VALUES (1, 'one')")
    db.run("SAVEPOINT s")
    attempt(db, "INSERT INTO wire_written VALUES (1, 'again')")
    attempt(db, "SELECT 1")
    db.run("ROLLBACK TO s")
    print(db.run("SELECT * FROM wire_written"), db.row_count)
    db.run("ROLLBACK")


def copies(db):
    """COPY both ways, with an error on the way."""
    rows = "".join(f"{n}\trow {n}\n" for n in range(2000))
    db.run("COPY wire_written FROM STDIN", stream=io.StringIO(rows))
    sink = io.BytesIO()
    db.run("COPY wire_written TO STDOUT", stream=sink)
    print(len(sink.getvalue()))
    attempt(db, "COPY wire_written FROM STDIN", stream=io.StringIO("x\ty\n"))
    print(db.run("TRUNCATE wire_written"))


def messages(db):
    """Notices, notifications, errors, settings."""
    db.run("DO $$ BEGIN RAISE NOTICE 'look'; END $$")
    print([notice[b"M"] for notice in db.notices])
    db.run("LISTEN mail")
    db.run("NOTIFY mail, 'hello'")
    db.run("SELECT 1")
    print([(channel, payload) for _, channel, payload in db.notifications])
    attempt(db, "SELECT nothing FROM wire")
    attempt(db, "SELECT 1 / (id - id) FROM wire")
    attempt(db, "SELECT name FROM wire WHERE id = :id::int", id="x")
    db.run("SET timezone = 'Asia/Tokyo'")
    print(db.parameter_statuses["TimeZone"], db.run("SELECT moment FROM wire WHERE id = 1"))


with pg8000.native.Connection("postgres", **SERVER, application_name="wire") as connection:
    for part in (statements, transactions, copies, messages):
        part(connection)
for user, database in (("nobody", "postgres"), ("postgres", "nothing")):
    try:
        pg8000.native.Connection(user, **SERVER | {"database": database})
    except pg8000.native.DatabaseError as failure:
        print(sorted(failure.args[0].items()))
