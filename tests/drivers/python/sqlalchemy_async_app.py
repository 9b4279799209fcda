"""SQLAlchemy's ORM over asyncpg: one AsyncSession per request. The argument names the configuration."""

import asyncio
import itertools
import sys

from announce import DATABASE_URL, Announcer, comment, trace_id
from blog_models import ALL_POSTS, AUTHORS_WITH_POSTS, COUNTED, FIRST_AUTHORS, LINKED, POSTS_JOINED, Author, Post
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

MODE = sys.argv[1]
ENGINE = create_async_engine(
    DATABASE_URL.replace("postgresql://", "postgresql+asyncpg://"),
    pool_pre_ping=MODE == "ping",
    pool_size=1,
    connect_args={"server_settings": {"application_name": f"sqlalchemy_async-{MODE}"}},
)
CURRENT = {"comment": None}


@event.listens_for(ENGINE.sync_engine, "before_cursor_execute", retval=True)
def add_comment(connection, cursor, statement, parameters, context, executemany):
    """Appends the request's comment, as the sqlcommenter libraries do."""
    make = CURRENT["comment"]
    return (statement + " " + make() if make else statement), parameters


async def lazy(session):
    """1 + N: every post loads its author, unless the session has it already."""
    posts = (await session.scalars(ALL_POSTS)).all()
    # Held, or the session's weak references would forget them.
    authors = [await session.get(Author, post.author_id) for post in posts]
    return [author.name for author in authors]


async def children(session):
    """1 + N the other way: every author loads its posts."""
    authors = (await session.scalars(FIRST_AUTHORS)).all()
    return [len(await session.run_sync(lambda _, author=author: author.posts)) for author in authors]


async def joined(session):
    """The lazy page with a join."""
    return [post.author.name for post in await session.scalars(POSTS_JOINED)]


async def prefetched(session):
    """Two statements for any number of authors."""
    return [len(author.posts) for author in await session.scalars(AUTHORS_WITH_POSTS)]


async def create(session):
    """Writes, commits, and reads what the commit has expired: in a transaction of its own."""
    post = Post(author_id=2, title="new")
    session.add(post)
    await session.commit()
    await session.refresh(post)


async def error(session):
    """A statement that fails and rolls back."""
    session.add(Author(name="author 1"))
    try:
        await session.commit()
    except exc.IntegrityError:
        await session.rollback()


PAGES = (lazy, children, joined, prefetched, create, error)


def expectation(page, number):
    """What pgtally must say about a page in this configuration."""
    if MODE == "trace":
        # What a commit has expired is read again within one request.
        again = {"other_kinds": "reread_after_write"} if page == "create" else {}
        return {"level": ["trace"], "route": f"/{page}", "key": f"trace:{trace_id(number)}"} | again
    # The ping is an empty query within a transaction of its own.
    levels = ["ping"] if MODE == "ping" else ["transaction"]
    return {"level": levels, "route": f"sqlalchemy_async-{MODE}", "units": 2 if page == "create" else 1}


async def main():
    """Runs every page once, after opening the connection."""
    announcer = Announcer()
    with announcer.request("warm-up", only_total=True):
        async with AsyncSession(ENGINE) as session:
            await joined(session)
    for view in PAGES:
        page, number = view.__name__, announcer.number + 1
        if MODE == "trace":
            spans = itertools.count()
            CURRENT["comment"] = lambda page=page, number=number, spans=spans: comment(number, f"/{page}", next(spans))
        expected = expectation(page, number)
        with announcer.request(page, counted=COUNTED[page], linked=LINKED.get(page), **expected):
            async with AsyncSession(ENGINE) as session:
                await view(session)
    await ENGINE.dispose()


asyncio.run(main())
