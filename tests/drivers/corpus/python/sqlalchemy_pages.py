"""Pages of SQLAlchemy's ORM over psycopg."""

from contextlib import contextmanager

from pages import DATABASE_URL, run
from shop_models import Author, Category, Comment, Document, Event, Order, Post, Setting, Tag
from sqlalchemy import create_engine, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session, defer, joinedload, selectinload, subqueryload

URL = DATABASE_URL.replace("postgresql://", "postgresql+psycopg://")


def posts_lazy(session):
    return [post.author.name for post in session.scalars(select(Post).order_by(Post.id))]


def posts_ahead(session):
    return [post.author.name for post in session.scalars(select(Post).options(joinedload(Post.author)))]


def comments_lazy(session):
    return [len(post.comments) for post in session.scalars(select(Post).order_by(Post.id.desc()).limit(15))]


def comments_ahead(session):
    return [len(post.comments) for post in session.scalars(select(Post).options(selectinload(Post.comments)))]


def counts_lazy(session):
    count = select(func.count()).select_from(Post)
    return [session.scalar(count.where(Post.author_id == author.id)) for author in session.scalars(select(Author))]


def counts_grouped(session):
    return session.execute(select(Post.author_id, func.count()).group_by(Post.author_id)).all()


def nested_lazy(session):
    for author in session.scalars(select(Author).order_by(Author.name).limit(6)):
        for post in author.posts:
            len(post.comments)


def nested_ahead(session):
    ahead = subqueryload(Author.posts).subqueryload(Post.comments)
    return [len(post.comments) for author in session.scalars(select(Author).options(ahead)) for post in author.posts]


def tags_lazy(session):
    return [[tag.name for tag in post.tags] for post in session.scalars(select(Post))]


def tags_ahead(session):
    return [len(post.tags) for post in session.scalars(select(Post).options(selectinload(Post.tags)))]


def orders_lazy(session):
    return [order.customer.name for order in session.scalars(select(Order))]


def last_lazy(session):
    latest = select(Post).order_by(Post.id.desc()).limit(1)
    return [session.scalars(latest.where(Post.author_id == author.id)).first() for author in session.scalars(select(Author))]


def exists_lazy(session):
    return [
        session.scalar(select(exists().where(Post.author_id == author.id, Post.views > 0)))
        for author in session.scalars(select(Author)).all()
    ]


def deferred(session):
    return [post.title for post in session.scalars(select(Post).options(defer(Post.title)))]


def tree_up(session):
    category = session.get(Category, 9)
    while category.parent is not None:
        category = category.parent


def names_from_api(session):
    return [session.scalars(select(Author).where(Author.name == f"author {n}")).one().id for n in range(1, 13)]


def few_lookups(session):
    return [session.get(Author, number) for number in (3, 8, 5)]


def setting_again(session):
    return [session.scalars(select(Setting).where(Setting.name == "setting 2")).one() for _ in range(4)]


def paginate(session):
    query = select(Post).where(Post.views == 0)
    total = session.scalar(select(func.count()).select_from(query.subquery()))
    return total, session.scalars(query.order_by(Post.id).limit(10)).all()


def get_after_create(session):
    post = Post(author_id=2, title="new")
    session.add(post)
    session.commit()
    return post.title


def bulk_singly(session):
    for number in range(15):
        session.add(Comment(post_id=1 + number, body="new"))
        session.flush()
    session.commit()


def bulk_at_once(session):
    session.add_all([Comment(post_id=1 + number, body="new") for number in range(15)])
    session.commit()


def update_singly(session):
    for post in session.scalars(select(Post).order_by(Post.id).limit(12)).all():
        post.views += 1
        session.flush()
    session.commit()


def update_at_once(session):
    for post in session.scalars(select(Post).order_by(Post.id).limit(12)).all():
        post.views += 1
    session.commit()


def delete_singly(session):
    for comment in session.scalars(select(Comment).order_by(Comment.id.desc()).limit(12)).all():
        session.execute(delete(Comment).where(Comment.id == comment.id))
    session.commit()


def delete_at_once(session):
    session.execute(delete(Comment).where(Comment.body == "new"))
    session.execute(update(Post).values(views=0))
    session.commit()


def export_all(session):
    return [event.kind for event in session.scalars(select(Event))]


def export_cursor(session):
    return sum(1 for _ in session.scalars(select(Event).execution_options(yield_per=300)))


def export_pages(session):
    last = 0
    for _ in range(12):
        last = session.scalars(select(Event).where(Event.id > last).order_by(Event.id).limit(200)).all()[-1].id


def offset_pages(session):
    return [session.scalars(select(Event).order_by(Event.id).limit(100).offset(start)).all() for start in range(0, 1200, 100)]


def documents_wide(session):
    return [session.scalars(select(Document).where(Document.author_id == author)).all() for author in (1, 2, 3, 4)]


def chunks(session):
    ids = session.scalars(select(Event.id).order_by(Event.id).limit(600)).all()
    for start in range(0, 600, 50):
        session.scalars(select(Event).where(Event.id.in_(ids[start : start + 50]))).all()


def dashboard(session):
    session.scalar(select(func.count()).select_from(Post))
    session.scalars(select(Author).order_by(Author.id.desc()).limit(1)).one()
    session.scalars(select(Tag)).all()
    session.scalar(select(func.count()).select_from(Event).where(Event.kind == "click"))


def savepoints(session):
    for number in (1, 2, 3):
        with session.begin_nested():
            session.execute(update(Post).where(Post.id == number).values(views=9))
    session.commit()


def upsert_few(session):
    for name in ("tag 1", "tag 2", "tag 3"):
        if session.scalars(select(Tag).where(Tag.name == name)).first() is None:
            session.execute(insert(Tag).values(name=name))


@contextmanager
def session_of(page):
    """A session on an engine of its own."""
    engine = create_engine(URL)
    with Session(engine) as session:
        yield session
    engine.dispose()


run(
    "sqlalchemy",
    [
        posts_lazy, posts_ahead, comments_lazy, comments_ahead, counts_lazy, counts_grouped, nested_lazy, nested_ahead,
        tags_lazy, tags_ahead, orders_lazy, last_lazy, exists_lazy, deferred, tree_up, names_from_api, few_lookups,
        setting_again, paginate, get_after_create, bulk_singly, bulk_at_once, update_singly, update_at_once,
        delete_singly, delete_at_once, export_all, export_cursor, export_pages, offset_pages, documents_wide, chunks,
        dashboard, savepoints, upsert_few,
    ],
    session_of,
)
