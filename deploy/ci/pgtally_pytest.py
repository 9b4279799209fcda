"""pytest plugin: for pgtally, every test is a request of its own, whatever connects to PostgreSQL in it.

Copy it beside your tests and start pytest with `-p pgtally_pytest`, or name it in `conftest.py`:

    pytest_plugins = ["pgtally_pytest"]

New connections of libpq (psycopg, psycopg2) name their request by PGOPTIONS. Connections that outlive a test, such as
those of Django or of a pool, are named when the test begins: Django's are found, others are given to `watch()`.
PostgreSQL accepts the setting without pgtally, too.
"""

import contextlib
import os
import sys
import weakref

import pytest

_watched = weakref.WeakSet()


def watch(connection):
    """Names the request of each test on a connection with `execute` or `cursor` that several tests use."""
    _watched.add(connection)


def _request(nodeid):
    # A comma would end the name.
    name = nodeid.replace(",", ";")
    return f"route={name},id={name}"


def _django_connections():
    db = sys.modules.get("django.db")
    if db is None:
        return []
    return [it.connection for it in db.connections.all(initialized_only=True)
            if it.vendor == "postgresql" and it.connection is not None]


def _name(request):
    text = "SET pgtally.request = '{}'".format(request.replace("'", "''"))
    for connection in [*_watched, *_django_connections()]:
        # A connection that is closed, or in a failed transaction, is no reason to fail a test.
        with contextlib.suppress(Exception):
            with connection.cursor() as cursor:
                cursor.execute(text)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    request = _request(item.nodeid)
    before = os.environ.get("PGOPTIONS")
    escaped = request.replace("\\", "\\\\").replace(" ", "\\ ")
    os.environ["PGOPTIONS"] = f"{before or ''} -c pgtally.request={escaped}".strip()
    _name(request)
    try:
        return (yield)
    finally:
        _name("")
        if before is None:
            del os.environ["PGOPTIONS"]
        else:
            os.environ["PGOPTIONS"] = before
