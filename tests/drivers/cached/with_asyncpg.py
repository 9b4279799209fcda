"""asyncpg: prepared statements of its own making, and simple queries."""

import asyncio
import os

import asyncpg

HINT = "/*pgtally_cache='ttl%3D60s%3Btags%3Dproduct'*/"
ONE = f"SELECT * FROM cached_product WHERE id = $1 {HINT}"


async def reads(db):
    """Each form until it comes from the cache."""
    for _ in range(5):
        print(await db.fetch(ONE, 7))
        print(await db.fetchrow(ONE, 8))
        print(await db.fetchval(f"SELECT sum(price) FROM cached_product WHERE id <= $1 {HINT}", 20))
        print(await db.fetch(f"SELECT id FROM cached_product WHERE id = ANY($1::int[]) ORDER BY id {HINT}", [3, 1, 2]))
        print(await db.execute(f"SELECT name FROM cached_product WHERE id = 9 {HINT}"))


async def main():
    """Reads, writes in between, and reads again."""
    settings = {"host": "127.0.0.1", "port": int(os.environ["PORT"]), "user": "postgres", "database": "postgres"}
    db, other = await asyncpg.connect(**settings), await asyncpg.connect(**settings, statement_cache_size=0)
    await reads(db)
    await db.execute("UPDATE cached_product SET name = $1 WHERE id = 7", "written")
    await reads(db)
    async with other.transaction():
        await other.execute("UPDATE cached_product SET name = 'product 7' WHERE id = 7")
        print(await db.fetch(ONE, 7), await other.fetch(ONE, 7))
    print(await db.fetch(ONE, 7), await other.fetch(ONE, 7), await other.fetch(ONE, 7))
    await db.execute("SET search_path = pg_catalog")
    try:
        print(await db.fetch(ONE, 7))
    except asyncpg.PostgresError as error:
        print(error.sqlstate)
    await db.reset()
    await reads(db)
    await db.close()
    await other.close()


asyncio.run(main())
