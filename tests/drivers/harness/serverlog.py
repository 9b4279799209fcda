"""Reads PostgreSQL's own log (csvlog, `log_statement = all`) and counts what ran between two markers.

The markers come from a connection of their own that does not pass the proxy. A backend hands a statement to the log
before it runs it, so whatever a client has sent and seen answered between two markers stands between them in the log.
"""

import csv
import io
import re
import time
from collections import namedtuple

from . import sqltext

MARKER_APPLICATION = "pgtally-drivers-marker"
LOG_WAIT_SECONDS = 10

# Columns of csvlog, fixed by PostgreSQL (runtime-config-logging, "Using CSV-Format Log Output").
COLUMN_TIME, COLUMN_PID, COLUMN_SEVERITY, COLUMN_SQLSTATE, COLUMN_MESSAGE, COLUMN_APPLICATION = 0, 3, 11, 12, 13, 22

STATEMENT = re.compile(r"(?:statement|execute (?P<portal>.+?)): (?P<text>.*)", re.DOTALL)
MARKER = re.compile(r"SELECT '(begin|end) (\d+)'")

Entry = namedtuple("Entry", "time pid sqlstate message application")
Statement = namedtuple("Statement", "pid time text counted")


class ServerLog:
    """The log file of a running server, read on from where the last reading ended."""

    def __init__(self, path):
        self.path = path
        self.offset = 0

    def skip(self):
        """Leaves out everything logged so far."""
        self.offset = self.path.stat().st_size if self.path.exists() else 0

    def read_until(self, marker):
        """Entries up to and including the marker (`('end', 7)`); raises TimeoutError when it never comes."""
        deadline = time.monotonic() + LOG_WAIT_SECONDS
        while True:
            data = self.path.read_bytes()[self.offset :] if self.path.exists() else b""
            entries = parse(data.decode("utf-8", "replace"))
            if any(marker_of(entry) == marker for entry in entries):
                self.offset += len(data)
                return entries
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server's log has no marker {marker} after {LOG_WAIT_SECONDS} s")
            time.sleep(0.02)


def parse(text):
    """Complete entries of a piece of csvlog."""
    rows = csv.reader(io.StringIO(text, newline=""))
    return [
        Entry(row[COLUMN_TIME], row[COLUMN_PID], row[COLUMN_SQLSTATE], row[COLUMN_MESSAGE], row[COLUMN_APPLICATION])
        for row in rows
        if len(row) > COLUMN_APPLICATION
    ]


def marker_of(entry):
    """`('begin' | 'end', number)` for a marker's entry, else None."""
    if entry.application != MARKER_APPLICATION:
        return None
    found = MARKER.search(entry.message)
    return (found.group(1), int(found.group(2))) if found else None


def statement_of(entry):
    """The statement that an entry reports, or None: errors, connections and pieces of a portal are none."""
    if entry.application == MARKER_APPLICATION:
        return None
    found = STATEMENT.match(entry.message)
    if found is None or (found.group("portal") or "").startswith("fetch from "):
        return None
    text = found.group("text")
    return Statement(entry.pid, entry.time, text, sqltext.counted(text))


def by_request(entries):
    """Number of the request → its statements; what ran outside any request is under None."""
    requests, current = {None: []}, None
    for entry in entries:
        marker = marker_of(entry)
        if marker:
            current = marker[1] if marker[0] == "begin" else None
            requests.setdefault(current, [])
            continue
        statement = statement_of(entry)
        if statement:
            requests[current].append(statement)
    return requests
