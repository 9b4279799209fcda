"""Pages of Tortoise ORM over asyncpg."""

import asyncio

from pages import ADDRESS, announce, options
from tortoise import Tortoise, fields
from tortoise.functions import Count
from tortoise.models import Model
from tortoise.transactions import in_transaction


class Author(Model):
    name = fields.CharField(max_length=60)
    posts: fields.ReverseRelation["Post"]

    class Meta:
        table = "authors"


class Tag(Model):
    name = fields.CharField(max_length=30)

    class Meta:
        table = "tags"


class Post(Model):
    author = fields.ForeignKeyField("models.Author", related_name="posts")
    title = fields.CharField(max_length=100)
    views = fields.IntField(default=0)
    tags = fields.ManyToManyField("models.Tag", through="post_tags", forward_key="tag_id", backward_key="post_id")
    comments: fields.ReverseRelation["Comment"]

    class Meta:
        table = "posts"


class Comment(Model):
    post = fields.ForeignKeyField("models.Post", related_name="comments")
    body = fields.TextField()

    class Meta:
        table = "comments"


class Customer(Model):
    id = fields.UUIDField(primary_key=True)
    name = fields.CharField(max_length=60)

    class Meta:
        table = "customers"


class Order(Model):
    id = fields.UUIDField(primary_key=True)
    customer = fields.ForeignKeyField("models.Customer")

    class Meta:
        table = "orders"


async def posts_lazy():
    for post in await Post.all().order_by("id"):
        await post.author


async def posts_ahead():
    await Post.all().select_related("author")


async def comments_lazy():
    for post in await Post.all().limit(15):
        await post.comments.all()


async def comments_ahead():
    await Post.all().prefetch_related("comments")


async def counts_lazy():
    for author in await Author.all():
        await author.posts.all().count()


async def counts_grouped():
    await Author.annotate(total=Count("posts"))


async def nested_lazy():
    for author in await Author.all().order_by("name").limit(6):
        async for post in author.posts:
            await post.comments.all()


async def tags_lazy():
    for post in await Post.all():
        await post.fetch_related("tags")


async def tags_ahead():
    await Post.all().prefetch_related("tags")


async def orders_lazy():
    for order in await Order.all():
        await order.customer


async def names_from_api():
    for number in range(1, 13):
        await Author.get(name=f"author {number}")


async def paginate():
    await Post.filter(views=0).count()
    await Post.filter(views=0).order_by("id").limit(10)


async def get_after_create():
    post = await Post.create(author_id=2, title="new")
    await post.refresh_from_db()


async def bulk_singly():
    async with in_transaction():
        for number in range(15):
            await Comment.create(post_id=1 + number, body="new")


async def bulk_at_once():
    await Comment.bulk_create([Comment(post_id=1 + number, body="new") for number in range(15)])


async def update_singly():
    for post in await Post.all().order_by("id").limit(12):
        post.views += 1
        await post.save()


async def together():
    posts = await Post.all().order_by("id")
    await asyncio.gather(*(Author.get(id=post.author_id) for post in posts))


async def main():
    """Runs every page on a pool of its own."""
    for page in (
        posts_lazy, posts_ahead, comments_lazy, comments_ahead, counts_lazy, counts_grouped, nested_lazy, tags_lazy,
        tags_ahead, orders_lazy, names_from_api, paginate, get_after_create, bulk_singly, bulk_at_once, update_singly,
        together,
    ):
        announce("tortoise", page)
        credentials = {
            "host": ADDRESS.hostname, "port": ADDRESS.port, "user": ADDRESS.username, "password": None,
            "database": ADDRESS.path.lstrip("/"), "minsize": 1, "maxsize": 3,
            "server_settings": {"options": options("tortoise", page.__name__)},
        }
        engine = {"engine": "tortoise.backends.asyncpg", "credentials": credentials}
        apps = {"models": {"models": [__name__], "default_connection": "default"}}
        await Tortoise.init(config={"connections": {"default": engine}, "apps": apps})
        await page()
        await Tortoise.close_connections()


asyncio.run(main())
