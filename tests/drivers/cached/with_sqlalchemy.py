"""SQLAlchemy with psycopg: its own transactions and autocommit, its ORM, comments by suffix and by hand."""

import os

from sqlalchemy import Integer, Numeric, Text, create_engine, func, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

HINT = "/* pgtally:cache ttl=60s tags=product */"


class Base(DeclarativeBase):
    """All models."""


class Product(Base):
    """A product."""

    __tablename__ = "cached_product"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    price: Mapped[float] = mapped_column(Numeric(10, 2))


def reads(engine):
    """Each in a session of its own, as requests do."""
    for _ in range(5):
        with Session(engine) as session:
            one = select(Product).where(Product.id == 7).suffix_with(HINT)
            product = session.scalars(one).one()
            print(product.id, product.name, product.price)
            print(session.execute(select(func.sum(Product.price)).where(Product.id < 20).suffix_with(HINT)).scalar())
            print(session.execute(text(f"SELECT name FROM cached_product WHERE id = :id {HINT}"), {"id": 8}).all())
            print(session.scalars(select(Product.name).where(Product.id.in_([1, 2, 3])).suffix_with(HINT)).all())


def main():
    """Reads, writes in between, and reads again."""
    url = f"postgresql+psycopg://postgres@127.0.0.1:{os.environ['PORT']}/postgres"
    transactional = create_engine(url)
    # Outside a transaction: only there an answer can come from the cache.
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    reads(engine)
    for name in ("written", "product 7"):
        with Session(transactional) as session:
            session.execute(update(Product).where(Product.id == 7).values(name=name))
            reads(engine)
            session.commit()
        reads(engine)
    reads(transactional)


main()
