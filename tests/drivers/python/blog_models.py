"""The blog's tables for SQLAlchemy, and the pages' statements that do not depend on how they are run."""

from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship, selectinload


class Base(DeclarativeBase):
    """Root of the models."""


class Author(Base):
    """Writes posts."""

    __tablename__ = "blog_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(60))
    posts: Mapped[list["Post"]] = relationship(back_populates="author", order_by="Post.id")


class Post(Base):
    """Has one author."""

    __tablename__ = "blog_post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("blog_author.id"))
    title: Mapped[str] = mapped_column(String(100))
    body: Mapped[str] = mapped_column(default="")
    author: Mapped[Author] = relationship(back_populates="posts")


ALL_POSTS = select(Post).order_by(Post.id).limit(12)
POSTS_JOINED = ALL_POSTS.options(joinedload(Post.author))
AUTHORS_WITH_POSTS = select(Author).order_by(Author.id).options(selectinload(Author.posts))
FIRST_AUTHORS = select(Author).order_by(Author.id).limit(7)

# Statements of each page: nine authors are loaded once each, thanks to the session's identity map.
COUNTED = {"lazy": 10, "children": 8, "joined": 1, "prefetched": 2, "create": 2, "error": 1}
LINKED = {"lazy": "blog_post.author_id", "children": "blog_author.id"}
