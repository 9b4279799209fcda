"""Everything asyncpg has: binary types, prepared statements, cursors, COPY, notifications, and errors of all kinds."""

import asyncio
import io
import os

import asyncpg

SERVER = {"host": "127.0.0.1", "port": int(os.environ["PORT"]), "user": "postgres", "database": "postgres", "ssl": False}


async def attempt(work):
    """Awaits what fails and prints how."""
    try:
        print("no error", await work)
    except asyncpg.PostgresError as error:
        print(error.sqlstate, error.message)


async def statements(db):
    """Simple, prepared, many at once."""
    print(await db.execute("SELECT 1; SELECT 2"))
    for row in await db.fetch("SELECT * FROM wire WHERE id <= $1 ORDER BY id", 6):
        print(tuple(row))
    prepared = await db.prepare("SELECT name, tags FROM wire WHERE id = ANY($1::int[])")
    print(prepared.get_parameters(), [attribute.name for attribute in prepared.get_attributes()])
    print([tuple(row) for row in await prepared.fetch([1, 5, 9])])
    print(await db.fetchval("SELECT length($1::bytea)", bytes(range(256)) * 8192))
    print(len(await db.fetchval("SELECT repeat('z', 2000000)")))
    await db.executemany("INSERT INTO wire_written VALUES ($1, $2)", [(n, f"n{n}") for n in range(300)])
    print(await db.fetchval("SELECT count(*) FROM wire_written"))
    print(await db.execute("DELETE FROM wire_written"))


async def transactions(db):
    """Savepoints and cursors."""
    transaction = db.transaction(isolation="repeatable_read")
    await transaction.start()
    await db.execute("INSERT INTO wire_written VALUES (1, 'one')")
    try:
        async with db.transaction():
            await db.execute("INSERT INTO wire_written VALUES (1, 'again')")
    except asyncpg.UniqueViolationError as error:
        print(error.sqlstate, error.constraint_name)
    async for row in db.cursor("SELECT id FROM wire ORDER BY id", prefetch=30):
        print(row["id"], end=" ")
    cursor = await db.cursor("SELECT id FROM wire ORDER BY id")
    print(await cursor.fetch(3), await cursor.forward(5), await cursor.fetchrow())
    await transaction.rollback()


async def copies(db):
    """COPY both ways, with an error on the way."""
    records = [(n, f"row {n}") for n in range(2000)]
    print(await db.copy_records_to_table("wire_written", records=records))
    sink = io.BytesIO()
    print(await db.copy_from_query("SELECT * FROM wire ORDER BY id", output=sink), len(sink.getvalue()))
    await attempt(db.copy_records_to_table("wire_written", records=[(5000, "a"), (1, "b")]))
    await attempt(db.copy_to_table("wire_written", source=io.BytesIO(b"x\ty\n"), format="text"))
    print(await db.execute("TRUNCATE wire_written"))


async def messages(db):
    """Notices, notifications, errors."""
    heard = asyncio.Queue()
    db.add_log_listener(lambda _, message: print(message.severity, message.message))
    await db.add_listener("mail", lambda _, __, channel, payload: heard.put_nowait((channel, payload)))
    await db.execute("DO $$ BEGIN RAISE NOTICE 'look'; END $$")
    await db.execute("NOTIFY mail, 'hello'")
    print(await heard.get())
    await attempt(db.fetch("SELECT nothing FROM wire"))
    await attempt(db.fetch("SELECT 1 / (id - id) FROM wire"))
    await attempt(db.execute("SELECT 1; SELEKT; SELECT 2"))
    await attempt(db.fetch("SELECT name FROM wire WHERE id = $1::int8", 2**40))


async def main():
    """One connection through everything, then some that are refused."""
    db = await asyncpg.connect(**SERVER, server_settings={"application_name": "wire", "jit": "off"})
    for part in (statements, transactions, copies, messages):
        await part(db)
    await db.reset()
    await db.close()
    await attempt(asyncpg.connect(**SERVER | {"database": "nothing"}))
    await attempt(asyncpg.connect(**SERVER | {"user": "nobody"}))


asyncio.run(main())
