"""A test suite with one N+1, one repaired twin, and a pooled connection that outlives its tests."""

import psycopg
import pytest

import pgtally_pytest


@pytest.fixture(scope="session")
def pooled():
    with psycopg.connect(autocommit=True) as connection:
        pgtally_pytest.watch(connection)
        yield connection


def read_posts(connection):
    return connection.execute("SELECT id, author_id FROM posts ORDER BY id").fetchall()


def test_one_by_one():
    with psycopg.connect(autocommit=True) as connection:
        for _, author in read_posts(connection):
            connection.execute("SELECT name FROM authors WHERE id = %s", [author]).fetchone()


def test_at_once(pooled):
    authors = [author for _, author in read_posts(pooled)]
    pooled.execute("SELECT name FROM authors WHERE id = ANY(%s)", [authors]).fetchall()


@pytest.mark.parametrize("limit", [2, 3], ids=["a,b", "it's"])
def test_names_of_any_kind(pooled, limit):
    pooled.execute("SELECT id FROM posts LIMIT %s", [limit]).fetchall()
