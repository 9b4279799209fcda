"""Pages of SQLAlchemy's ORM over asyncpg."""

import asyncio

from pages import DATABASE_URL, announce, options
from shop_models import Author, Comment, Event, Order, Post
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import selectinload

URL = DATABASE_URL.replace("postgresql://", "postgresql+asyncpg://")


async def posts_lazy(session):
    for post in (await session.scalars(select(Post).order_by(Post.id))).all():
        await session.get(Author, post.author_id)


async def comments_lazy(session):
    for post in (await session.scalars(select(Post).limit(15))).all():
        await session.refresh(post, ["comments"])


async def comments_ahead(session):
    await session.scalars(select(Post).options(selectinload(Post.comments)))


async def orders_lazy(session):
    for order in await session.scalars(select(Order)):
        await session.refresh(order, ["customer"])


async def counts_lazy(session):
    for author in (await session.scalars(select(Author))).all():
        await session.scalar(select(func.count()).select_from(Post).where(Post.author_id == author.id))


async def names_from_api(session):
    for number in range(1, 13):
        (await session.scalars(select(Author).where(Author.name == f"author {number}"))).one()


async def get_after_create(session):
    post = Post(author_id=2, title="new")
    session.add(post)
    await session.commit()
    await session.refresh(post)


async def bulk_singly(session):
    for number in range(15):
        session.add(Comment(post_id=1 + number, body="new"))
        await session.flush()
    await session.commit()


async def bulk_at_once(session):
    session.add_all([Comment(post_id=1 + number, body="new") for number in range(15)])
    await session.commit()


async def update_at_once(session):
    for post in (await session.scalars(select(Post).order_by(Post.id).limit(12))).all():
        post.views += 1
    await session.commit()


async def export_cursor(session):
    result = await session.stream_scalars(select(Event).execution_options(yield_per=300))
    return [event.id async for event in result]


async def paginate(session):
    await session.scalar(select(func.count()).select_from(Post).where(Post.views == 0))
    (await session.scalars(select(Post).where(Post.views == 0).order_by(Post.id).limit(10))).all()


async def main():
    """Runs every page on an engine of its own."""
    for page in (
        posts_lazy, comments_lazy, comments_ahead, orders_lazy, counts_lazy, names_from_api, paginate, get_after_create,
        bulk_singly, bulk_at_once, update_at_once, export_cursor,
    ):
        announce("sqlalchemy_async", page)
        settings = {"options": options("sqlalchemy_async", page.__name__)}
        engine = create_async_engine(URL, connect_args={"server_settings": settings})
        async with AsyncSession(engine) as session:
            await page(session)
        await engine.dispose()


asyncio.run(main())
