"""libpq itself, driven by lines of JSON: one connection attempt each, with what the server and libpq said.

In:  {"conninfo": "host=...", "statements": ["SELECT 1", ...], "cancel": false}
Out: {"tls": true, "values": ["1", ...]} or {"error": "...", "sqlstate": "28P01"}
Sent ahead: {"version": 180006}
"""

import json
import sys
import threading
import time

from psycopg import pq


def fetch(connection, statement):
    result = connection.exec_(statement.encode())
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
        return "!" + sqlstate.decode()
    value = result.get_value(0, 0) if result.ntuples else None
    return value.decode() if value is not None else None


class Cancel(threading.Thread):
    """Cancels what the connection does soon; says what libpq thinks of that."""

    def __init__(self, connection):
        super().__init__()
        self.canceller = connection.cancel_conn()
        self.outcome = "cancelled"

    def run(self):
        time.sleep(0.3)
        try:
            self.canceller.blocking()
        except Exception as error:
            self.outcome = str(error)


def attempt(order):
    connection = pq.PGconn.connect(order["conninfo"].encode())
    try:
        if connection.status != pq.ConnStatus.OK:
            return {"error": connection.get_error_message().strip()}
        cancel = Cancel(connection) if order.get("cancel") else None
        if cancel:
            cancel.start()
        values = [fetch(connection, statement) for statement in order["statements"]]
        if cancel:
            cancel.join()
            values.append(cancel.outcome)
        return {"tls": bool(connection.ssl_in_use), "values": values}
    finally:
        connection.finish()


print(json.dumps({"version": pq.version()}), flush=True)
for line in sys.stdin:
    print(json.dumps(attempt(json.loads(line))), flush=True)
