"""asyncpg without a framework: its pool, named statements, cursors, COPY, and tasks that share a trace."""

import asyncio
import sys
import uuid

import asyncpg
from announce import DATABASE_URL, Announcer, comment, trace_id

MODE = sys.argv[1]
AUTHOR = "SELECT name FROM blog_author WHERE id = $1"
COMMENT_BY_ID = "SELECT body FROM blog_comment WHERE id = $1"


class Application:
    """The pages, each with one connection of the pool."""

    def __init__(self, pool, announcer):
        self.pool = pool
        self.announcer = announcer

    def tag(self, sql, page):
        """The statement with its comment, where this configuration writes comments."""
        return f"{sql} {comment(self.announcer.number, '/' + page)}" if MODE == "trace" else sql

    async def lazy(self, db):
        """1 + N by integer keys; asyncpg prepares the statement once."""
        for post in await db.fetch(self.tag("SELECT id, author_id AS a FROM blog_post ORDER BY id LIMIT 12", "lazy")):
            await db.fetchval(self.tag(AUTHOR, "lazy"), post["a"])

    async def by_uuid(self, db):
        """1 + N by uuid keys, in binary."""
        for row in await db.fetch(self.tag("SELECT id FROM blog_comment ORDER BY id LIMIT 8", "by_uuid")):
            await db.fetchval(self.tag(COMMENT_BY_ID, "by_uuid"), row["id"])

    async def any_list(self, db):
        """The repaired page: one list of keys."""
        posts = await db.fetch(self.tag("SELECT author_id FROM blog_post ORDER BY id LIMIT 12", "any_list"))
        keys = [post["author_id"] for post in posts]
        await db.fetch(self.tag("SELECT name FROM blog_author WHERE id = ANY($1)", "any_list"), keys)

    async def batch(self, db):
        """Rows that arrive in one round trip, or as a copy."""
        rows = [(uuid.uuid4(), 1, f"body {n}") for n in range(15)]
        insert = self.tag("INSERT INTO blog_comment (id, post_id, body) VALUES ($1, $2, $3)", "batch")
        async with db.transaction():
            await db.executemany(insert, rows)
            # asyncpg writes the COPY itself, without a comment: it belongs to its transaction's request.
            copied = [(uuid.uuid4(), 2, "copied")]
            await db.copy_records_to_table("blog_comment", records=copied, columns=["id", "post_id", "body"])

    async def cursor(self, db):
        """A portal that is fetched in pieces: one statement."""
        async with db.transaction():
            sql = self.tag("SELECT id FROM blog_comment ORDER BY id LIMIT 30", "cursor")
            async for _ in db.cursor(sql, prefetch=7):
                pass

    async def error(self, db):
        """One that fails while it runs, and one that is never run because it can't be parsed."""
        for sql in ("SELECT 1 / (id - id) FROM blog_post", "SELECT nothing FROM blog_post"):
            try:
                await db.fetch(self.tag(sql, "error"))
            except asyncpg.PostgresError:
                pass


LINKED = {"lazy": "blog_post.author_id", "by_uuid": "blog_comment.id"}
PAGES = ("lazy", "by_uuid", "any_list", "batch", "cursor", "error")
COUNTED = {"lazy": 13, "by_uuid": 9, "any_list": 2, "batch": 16, "cursor": 1, "error": 1}


async def run_marked(announcer, pool):
    """Every page in a check-out of its own, which ends with the pool's reset query."""
    application = Application(pool, announcer)
    for page in PAGES:
        # The reset runs one function beside its three uncounted commands.
        expected = {"counted": COUNTED[page] + 1, "level": ["marker"], "route": "asyncpg-marker"}
        with announcer.request(page, linked=LINKED.get(page), **expected):
            async with pool.acquire() as db:
                await getattr(application, page)(db)


async def run_traced(announcer, pool):
    """Every page with comments, on one connection without resets in between."""
    application = Application(pool, announcer)
    async with pool.acquire() as db:
        for page in PAGES:
            key = f"trace:{trace_id(announcer.number + 1)}"
            expected = {"counted": COUNTED[page], "level": ["trace"], "route": f"/{page}", "key": key}
            with announcer.request(page, linked=LINKED.get(page), **expected):
                await getattr(application, page)(db)


async def run_parallel(announcer, pool):
    """Three requests at the same time, each spread over the same three connections."""
    first = announcer.number + 2
    connections = [await pool.acquire() for _ in range(3)]
    locks = [asyncio.Lock() for _ in connections]

    async def one(number):
        for n in range(6):
            turn = (number + n) % 3
            async with locks[turn]:
                sql = f"SELECT title FROM blog_post WHERE id = $1 + {n} {comment(number, '/parallel', n)}"
                await connections[turn].fetch(sql, number)

    with announcer.request("parallel", only_total=True, counted=18):
        await asyncio.gather(*(one(number) for number in range(first, first + 3)))
    for db in connections:
        await pool.release(db)
    # Numbered beyond all markers: theirs would have lain inside each other.
    announcer.add(
        {"number": 100 + number, "page": "parallel", "by_text": trace_id(number), "key": f"trace:{trace_id(number)}",
         "level": ["trace"], "route": "/parallel", "counted": 6}
        for number in range(first, first + 3)
    )


async def run_stale(announcer, pool):
    """A prepared statement whose comment names the request that prepared it, used by later requests."""
    async with pool.acquire() as db:
        prepared = None
        for page in ("prepares", "reuses"):
            number = announcer.number + 1
            key = f"trace:{trace_id(number)}"
            with announcer.request(page, counted=5, level=["trace"], route=f"/{page}", key=key):
                async with db.transaction():
                    await db.fetch(f"SELECT count(*) FROM blog_comment {comment(number, '/' + page)}")
                    prepared = prepared or await db.prepare(f"{AUTHOR} {comment(number, '/' + page, 1)}")
                    for author in (1, 2, 3, 4):
                        await prepared.fetchval(author)


RUN = {"marker": run_marked, "trace": run_traced, "parallel": run_parallel, "stale": run_stale}


async def main():
    """Opens the pool and runs what the configuration asks for."""
    announcer = Announcer()
    size = 3 if MODE == "parallel" else 1
    settings = {"application_name": f"asyncpg-{MODE}"}
    async with asyncpg.create_pool(DATABASE_URL, min_size=size, max_size=size, server_settings=settings) as pool:
        with announcer.request("warm-up", only_total=True):
            # The driver asks the server about array types when it first meets one.
            await asyncio.gather(*(pool.fetch("SELECT id FROM blog_post WHERE id = ANY($1)", [1]) for _ in range(size)))
        await RUN[MODE](announcer, pool)


asyncio.run(main())
