"""Tests of code whose statements carry comments: the trace of each request, and where in the source they come from."""

import psycopg


def traced(text, number):
    return f"{text} /*traceparent='00-{number:032x}-b7ad6b7169203331-01',code.filepath='shop/blog.py',code.lineno='12'*/"


def read_blog(connection, number):
    for _, author in connection.execute(traced("SELECT id, author_id FROM posts ORDER BY id", number)).fetchall():
        connection.execute(traced("SELECT name FROM authors WHERE id = %s", number), [author]).fetchone()


def test_two_requests():
    with psycopg.connect(autocommit=True) as connection:
        read_blog(connection, 1)
        read_blog(connection, 2)


def test_no_request():
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("SELECT count(*) FROM posts").fetchone()
