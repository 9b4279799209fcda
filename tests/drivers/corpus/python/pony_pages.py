"""Pages of Pony ORM over psycopg2, which loads relations in batches by itself."""

from contextlib import contextmanager

from pages import ADDRESS, run
from pony.orm import Database, Optional, PrimaryKey, Required, Set, count, db_session, desc, select

DB = Database()


class Author(DB.Entity):
    _table_ = "authors"
    id = PrimaryKey(int, auto=True)
    name = Required(str)
    bio = Optional(str)
    posts = Set("Post")


class Post(DB.Entity):
    _table_ = "posts"
    id = PrimaryKey(int, auto=True)
    author = Required(Author, column="author_id")
    title = Required(str)
    views = Required(int, default=0)
    comments = Set("Comment")


class Comment(DB.Entity):
    _table_ = "comments"
    id = PrimaryKey(int, auto=True)
    post = Required(Post, column="post_id")
    body = Required(str)


def posts_lazy():
    return [post.author.name for post in select(p for p in Post).order_by(Post.id)]


def posts_ahead():
    return select((p.title, p.author.name) for p in Post)[:]


def comments_lazy():
    return [len(post.comments) for post in select(p for p in Post).order_by(desc(Post.id)).limit(15)]


def counts_lazy():
    return [count(p for p in Post if p.author == author) for author in Author.select()[:]]


def names_from_api():
    return [Author.get(name=f"author {number}") for number in range(1, 13)]


def paginate():
    query = select(p for p in Post if p.views == 0)
    return query.count(), query.order_by(Post.id).page(1, 10)[:]


def bulk_singly():
    for number in range(15):
        Comment(post=Post[1 + number], body="new").flush()


def update_singly():
    for post in select(p for p in Post).order_by(Post.id).limit(12):
        post.views += 1


@contextmanager
def connected(page):
    """A connection for one page."""
    with db_session:
        yield
    DB.disconnect()


DB.bind("postgres", host=ADDRESS.hostname, port=ADDRESS.port, user=ADDRESS.username, database=ADDRESS.path.lstrip("/"))
DB.generate_mapping(check_tables=False)
DB.disconnect()
run(
    "pony",
    [posts_lazy, posts_ahead, comments_lazy, counts_lazy, names_from_api, paginate, bulk_singly, update_singly],
    connected,
)
