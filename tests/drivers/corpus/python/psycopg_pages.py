"""Pages in SQL by hand, over psycopg 3."""

from contextlib import contextmanager

import psycopg
from pages import DATABASE_URL, run
from psycopg.rows import dict_row

POSTS = "SELECT id, author_id FROM posts ORDER BY id"


def posts_lazy(db):
    for post in db.execute(POSTS).fetchall():
        db.execute("SELECT name FROM authors WHERE id = %s", [post["author_id"]]).fetchone()


def pairs_lazy(db):
    for item in db.execute("SELECT order_id, product_id FROM order_items").fetchall():
        db.execute("SELECT quantity FROM order_items WHERE order_id = %s AND product_id = %s", list(item.values()))


def one_element_lists(db):
    for post in db.execute(POSTS).fetchall():
        db.execute("SELECT name FROM authors WHERE id = ANY(%s)", [[post["author_id"]]]).fetchone()


def lists(db):
    ids = [post["id"] for post in db.execute(POSTS).fetchall()]
    for start in range(0, 20, 2):
        db.execute("SELECT body FROM comments WHERE post_id = ANY(%s)", [ids[start : start + 2]])


def exists_lazy(db):
    for product in db.execute("SELECT id, sku FROM products").fetchall():
        db.execute("SELECT EXISTS (SELECT FROM order_items WHERE product_id = %s)", [product["id"]])


def cursor_lazy(db):
    with db.transaction(), db.cursor("export") as cursor:
        cursor.itersize = 5
        cursor.execute(POSTS)
        for post in cursor:
            db.execute("SELECT name FROM authors WHERE id = %s", [post["author_id"]])


def export_cursor(db):
    with db.transaction(), db.cursor("export") as cursor:
        cursor.itersize = 500
        cursor.execute("SELECT * FROM events")
        return sum(1 for _ in cursor)


def bulk_singly(db):
    for number in range(15):
        db.execute("INSERT INTO comments (post_id, body) VALUES (%s, %s)", [1 + number, "new"])


def bulk_at_once(db):
    rows = [(1 + number, "new") for number in range(15)]
    db.cursor().executemany("INSERT INTO comments (post_id, body) VALUES (%s, %s)", rows)


def bulk_copy(db):
    with db.cursor().copy("COPY comments (post_id, body) FROM STDIN") as copy:
        for number in range(15):
            copy.write_row((1 + number, "new"))


def bulk_pipeline(db):
    with db.pipeline():
        for number in range(15):
            db.execute("INSERT INTO comments (post_id, body) VALUES (%s, %s)", [1 + number, "new"])


def unnested(db):
    ids, bodies = list(range(1, 16)), ["new"] * 15
    db.execute("INSERT INTO comments (post_id, body) SELECT * FROM unnest(%s::int[], %s::text[])", [ids, bodies])


def pipelined(db):
    posts = db.execute(POSTS).fetchall()
    with db.pipeline():
        for post in posts:
            db.execute("SELECT name FROM authors WHERE id = %s", [post["author_id"]])


def queue(db):
    for _ in range(12):
        with db.transaction():
            job = db.execute(
                "SELECT id FROM jobs WHERE state = 'waiting' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
            ).fetchone()
            db.execute("UPDATE jobs SET state = 'done' WHERE id = %s", [job["id"]])


def retried(db):
    for attempt in range(4):
        try:
            with db.transaction():
                db.execute("SELECT name FROM authors WHERE id = 3")
                db.execute("UPDATE posts SET views = 1 WHERE id = 3")
                if attempt < 3:
                    db.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
        except psycopg.errors.SerializationFailure:
            continue


def tenants(db):
    for number in range(1, 13):
        db.execute("SELECT set_config('search_path', %s, false)", [f"tenant_{number}, public"])
        db.execute("SELECT count(*) FROM orders").fetchone()


def sequence(db):
    for _ in range(12):
        db.execute("SELECT nextval('comments_id_seq')").fetchone()


def json_column(db):
    rows = db.execute("SELECT id, author_id, to_jsonb(posts) AS extra, ARRAY[id, views] AS pair FROM posts").fetchall()
    for row in rows:
        db.execute("SELECT name FROM authors WHERE id = %s", [row["author_id"]])


def union_of_columns(db):
    rows = db.execute("SELECT id + 2000 AS a, id + 4000 AS b FROM posts ORDER BY id LIMIT 8").fetchall()
    for row in rows:
        for reference in (row["a"], row["b"]):
            db.execute("SELECT kind FROM events WHERE id = %s", [reference])


def paginate(db):
    db.execute("SELECT count(*) FROM posts WHERE views < %s AND author_id = %s", [100, 3])
    db.execute("SELECT * FROM posts WHERE views < %s AND author_id = %s ORDER BY id LIMIT 10", [100, 3])


def setting_again(db):
    for _ in range(4):
        db.execute("SELECT value FROM settings WHERE name = %s", ["setting 1"]).fetchone()


def get_after_create(db):
    row = db.execute("INSERT INTO posts (author_id, title) VALUES (2, 'new') RETURNING id").fetchone()
    db.execute("SELECT * FROM posts WHERE id = %s", [row["id"]]).fetchone()


def export_all(db):
    return db.execute("SELECT id, kind FROM events").fetchall()


def export_pages(db):
    last = 0
    for _ in range(12):
        rows = db.execute("SELECT id FROM events WHERE id > %s ORDER BY id LIMIT 200", [last]).fetchall()
        last = rows[-1]["id"]


def months(db):
    for month in range(1, 12):
        db.execute("SELECT count(*) FROM posts WHERE published_at BETWEEN %s AND %s", [f"2026-{month:02}-01", f"2026-{month + 1:02}-01"])


def names_from_api(db):
    for number in range(1, 13):
        db.execute("SELECT id FROM products WHERE sku = %s", [f"sku-{number}"]).fetchone()


def few_lookups(db):
    for number in (5, 3, 8):
        db.execute("SELECT name FROM authors WHERE id = %s", [number]).fetchone()


@contextmanager
def connected(page):
    """A connection for one page."""
    with psycopg.connect(DATABASE_URL, autocommit=True, row_factory=dict_row) as connection:
        yield connection


run(
    "psycopg",
    [
        posts_lazy, pairs_lazy, one_element_lists, lists, exists_lazy, cursor_lazy, export_cursor, bulk_singly,
        bulk_at_once, bulk_copy, bulk_pipeline, unnested, pipelined, queue, retried, tenants, sequence, json_column,
        union_of_columns, paginate, setting_again, get_after_create, export_all, export_pages, months, names_from_api,
        few_lookups,
    ],
    connected,
)
