"""Django test runner: for pgtally, every test is a request of its own. In the settings of your tests:

    TEST_RUNNER = "pgtally_django.PgtallyRunner"

Works with `--parallel`. PostgreSQL accepts the setting without pgtally, too.
"""

import contextlib
import unittest

from django.db import connections
from django.db.backends.signals import connection_created
from django.test.runner import DebugSQLTextTestResult, DiscoverRunner, PDBDebugResult
from django.test.runner import ParallelTestSuite, RemoteTestResult, RemoteTestRunner


_request = ""


def name_request(test_id):
    """Names the request of what all connections run from here on; an empty id ends it."""
    global _request
    # A comma would end the name.
    name = test_id.replace(",", ";")
    _request = name and f"route={name},id={name}"
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _tell(connection)


def _tell(connection, **_):
    if connection.vendor != "postgresql":
        return
    # A connection in a failed transaction is no reason to fail a test.
    with contextlib.suppress(Exception), connection.connection.cursor() as cursor:
        cursor.execute("SET pgtally.request = '{}'".format(_request.replace("'", "''")))


connection_created.connect(_tell)


class _Naming:
    def startTest(self, test):
        super().startTest(test)
        name_request(test.id())

    def stopTest(self, test):
        name_request("")
        super().stopTest(test)


class _Result(_Naming, unittest.TextTestResult):
    pass


class _RemoteResult(_Naming, RemoteTestResult):
    pass


class _RemoteRunner(RemoteTestRunner):
    resultclass = _RemoteResult


class _ParallelSuite(ParallelTestSuite):
    runner_class = _RemoteRunner


class PgtallyRunner(DiscoverRunner):
    """Django's own runner, with a name for every test's request."""

    parallel_test_suite = _ParallelSuite

    def get_resultclass(self):
        """The result class that was asked for, with names."""
        asked = super().get_resultclass()
        if asked in (DebugSQLTextTestResult, PDBDebugResult):
            return type("NamingResult", (_Naming, asked), {})
        return _Result
