"""Says out of band which request an application runs when: to a file for what is expected, and by a connection of
its own, which does not pass the proxy, as markers into the server's log.

Every scenario script uses it the same way: `with announcer.request("lazy", route=…): …`.
"""

import json
import os
import time
from contextlib import contextmanager

import psycopg

DATABASE_URL = os.environ["DATABASE_URL"]
# Pool pings and comments tell requests apart at once; this much keeps their times apart for the runner.
SHORT_PAUSE_SECONDS = 0.02
# More than pgtally's idle gap of 100 ms.
LONG_PAUSE_SECONDS = 0.25


class Announcer:
    """Announces the requests of one scenario, numbered from 1."""

    def __init__(self):
        self.number = 0
        self.paused = os.environ.get("DRIVERS_PAUSE", "1") == "1"
        self.file = open(os.environ["DRIVERS_ANNOUNCE"], "a", encoding="utf-8")
        self.marker = psycopg.connect(
            os.environ["MARKER_URL"], autocommit=True, application_name="pgtally-drivers-marker"
        )

    def mark(self, what, number):
        """Puts a marker into the server's log."""
        self.marker.execute(f"SELECT '{what} {number}'")

    @contextmanager
    def request(self, page, **expected):
        """Runs its body as one request; `expected` goes to the runner as it is (see `run.py`)."""
        self.number += 1
        number = self.number
        self.mark("begin", number)
        start = time.time()
        try:
            yield number
        finally:
            end = time.time()
            self.mark("end", number)
            record = {"number": number, "page": page, "start": start, "end": end, **expected}
            self.file.write(json.dumps(record) + "\n")
            self.file.flush()
            self.pause(LONG_PAUSE_SECONDS if expected.get("needs_gap") else SHORT_PAUSE_SECONDS)

    def add(self, records):
        """Announces requests that ran at the same time inside the request just announced."""
        for record in records:
            self.file.write(json.dumps(record) + "\n")
        self.file.flush()

    def pause(self, seconds):
        """Waits, except where nobody watches."""
        if self.paused:
            time.sleep(seconds)


def trace_id(number):
    """Trace id of a request: fixed, so that a failing run can be read beside a good one."""
    return f"{0xABCDEF00 + number:032x}"


def comment(number, route, statement=0):
    """A comment as the sqlcommenter libraries write it; every statement has a span of its own."""
    escaped = route.replace("/", "%2F")
    return f"/*route='{escaped}',traceparent='00-{trace_id(number)}-{statement + 1:016x}-01'*/"
