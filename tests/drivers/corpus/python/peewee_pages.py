"""Pages of Peewee over psycopg2."""

from contextlib import contextmanager

from pages import DATABASE_URL, run
from peewee import CharField, ForeignKeyField, IntegerField, Model, TextField, UUIDField, fn, prefetch
from playhouse.db_url import connect

DATABASE = connect(DATABASE_URL)


class Base(Model):
    class Meta:
        database = DATABASE


class Author(Base):
    name = CharField()

    class Meta:
        table_name = "authors"


class Post(Base):
    author = ForeignKeyField(Author, backref="posts")
    title = CharField()
    views = IntegerField(default=0)

    class Meta:
        table_name = "posts"


class Comment(Base):
    post = ForeignKeyField(Post, backref="comments")
    body = TextField()

    class Meta:
        table_name = "comments"


class Customer(Base):
    id = UUIDField(primary_key=True)
    name = CharField()

    class Meta:
        table_name = "customers"


class Order(Base):
    id = UUIDField(primary_key=True)
    customer = ForeignKeyField(Customer)

    class Meta:
        table_name = "orders"


class Setting(Base):
    name = CharField(primary_key=True)
    value = TextField()

    class Meta:
        table_name = "settings"


class Event(Base):
    kind = CharField()

    class Meta:
        table_name = "events"


def posts_lazy():
    return [post.author.name for post in Post.select().order_by(Post.id)]


def posts_ahead():
    return [post.author.name for post in Post.select(Post, Author).join(Author)]


def comments_lazy():
    return [[comment.body for comment in post.comments] for post in Post.select().limit(15)]


def comments_ahead():
    return [len(post.comments) for post in prefetch(Post.select(), Comment.select())]


def counts_lazy():
    return [author.posts.count() for author in Author.select()]


def counts_grouped():
    return list(Author.select(Author, fn.COUNT(Post.id)).join(Post).group_by(Author.id).tuples())


def nested_lazy():
    for author in Author.select().order_by(Author.name).limit(6):
        for post in author.posts:
            list(post.comments)


def orders_lazy():
    return [order.customer.name for order in Order.select()]


def last_lazy():
    return [author.posts.order_by(Post.id.desc()).first() for author in Author.select()]


def names_from_api():
    return [Author.get(Author.name == f"author {number}") for number in range(1, 13)]


def few_lookups():
    return [Author.get_by_id(number) for number in (3, 8, 5)]


def setting_again():
    return [Setting.get_by_id("setting 2").value for _ in range(4)]


def get_after_create():
    post = Post.create(author=2, title="new")
    return Post.get_by_id(post.id)


def bulk_singly():
    with DATABASE.atomic():
        for number in range(15):
            Comment.create(post=1 + number, body="new")


def bulk_at_once():
    Comment.insert_many([{"post": 1 + number, "body": "new"} for number in range(15)]).execute()


def update_singly():
    for post in Post.select().order_by(Post.id).limit(12):
        post.views += 1
        post.save()


def update_at_once():
    Post.update(views=Post.views + 1).where(Post.views == 0).execute()


def paginate():
    query = Post.select().where(Post.views < 100)
    return query.count(), list(query.order_by(Post.id).paginate(1, 10))


def export_all():
    return [event.kind for event in Event.select()]


def offset_pages():
    return [list(Event.select().order_by(Event.id).paginate(page, 100)) for page in range(1, 12)]


def savepoints():
    with DATABASE.atomic():
        for number in (1, 2, 3):
            with DATABASE.atomic():
                Post.update(views=9).where(Post.id == number).execute()


@contextmanager
def connected(page):
    """A connection for one page."""
    with DATABASE.connection_context():
        yield


run(
    "peewee",
    [
        posts_lazy, posts_ahead, comments_lazy, comments_ahead, counts_lazy, counts_grouped, nested_lazy, orders_lazy,
        last_lazy, names_from_api, few_lookups, setting_again, get_after_create, bulk_singly, bulk_at_once,
        update_singly, update_at_once, paginate, export_all, offset_pages, savepoints,
    ],
    connected,
)
