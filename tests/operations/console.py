#!/usr/bin/env python3
"""Checks the SQL console with the clients that people use: psql, psycopg, asyncpg, node-postgres
and the JDBC driver.

A real pgtally serves; nothing stands behind it, as the console asks no PostgreSQL.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import asyncpg
import psycopg

JDBC = Path("/usr/share/java/postgresql.jar")
JAVA = Path(__file__).parent / "java" / "Console.java"
TOKEN = "a-token-of-some-length"
NODE = """
const { Client } = require("pg");
(async () => {
  const client = new Client({ host: "127.0.0.1", port: process.env.PORT, database: "pgtally", user: "node",
    password: process.env.TOKEN });
  await client.connect();
  const simple = await client.query("SHOW VERSION");
  const extended = await client.query("SHOW CONFIG LIKE $1", ["relay.workers"]);
  const named = await client.query({ name: "stats", text: "SHOW STATS" });
  await client.end();
  console.log(JSON.stringify([simple.rows[0].version, extended.rows[0].setting, named.rows.length > 20]));
})();
"""


def free_port():
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url):
    """Whether something answers there."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


class Served:
    """A pgtally with a token."""

    def __init__(self, program, folder):
        self.port, admin = free_port(), free_port()
        settings = {
            "PGTALLY__RELAY__LISTEN": f"127.0.0.1:{self.port}",
            "PGTALLY__RELAY__UPSTREAM": "127.0.0.1:1",
            "PGTALLY__ADMIN__LISTEN": f"127.0.0.1:{admin}",
            "PGTALLY__ADMIN__TOKEN": TOKEN,
        }
        with (folder / "pgtally.log").open("w") as log:
            self.process = subprocess.Popen([program, "serve"], env=os.environ | settings, stderr=log)
        deadline = time.monotonic() + 60
        while not answers(f"http://127.0.0.1:{admin}/livez"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"pgtally does not serve:\n{(folder / 'pgtally.log').read_text()}")
            time.sleep(0.05)
        self.environment = os.environ | {
            "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "ann", "PGDATABASE": "pgtally",
            "PGPASSWORD": TOKEN, "PGSSLMODE": "disable"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)


def psql(served, *commands):
    """(exit code, output, errors) of psql."""
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(["psql", "-XAt", *words], env=served.environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def psql_checks(served):
    """psql, one command or several, and what it does when one is wrong."""
    code, output, errors = psql(served, "SHOW VERSION", "RELOAD")
    yield "psql shows and reloads", code == 0 and output.startswith("pgtally ") and output.endswith("RELOAD"), errors
    code, output, _ = psql(served, "SHOW CONFIG LIKE 'relay.list%'")
    yield "psql narrows a list", code == 0 and output == f"relay.listen|\"127.0.0.1:{served.port}\"|PGTALLY__RELAY__LISTEN", output
    code, _, errors = psql(served, "SHOW TABLES")
    yield "psql is told what there is", code == 1 and "SHOW BASELINES|CACHE" in errors, errors
    code, output, errors = psql(served, "HELP")
    yield "psql gets help", code == 0 and "RELOAD" in output, errors
    wrong = subprocess.run(
        ["psql", "-XAt", "-c", "SHOW VERSION"], env=served.environment | {"PGPASSWORD": "wrong"}, capture_output=True,
        text=True, timeout=60)
    yield "psql needs the password", wrong.returncode == 2 and "authentication failed" in wrong.stderr, wrong.stderr


def psycopg_checks(served):
    """psycopg in its transaction, with values put in by the client and by the server."""
    arguments = {"host": "127.0.0.1", "port": served.port, "dbname": "pgtally", "user": "ann",
                 "password": served.environment["PGPASSWORD"]}
    with psycopg.connect(**arguments) as connection:
        rows = connection.execute("SHOW CONFIG LIKE %s", ["admin.%"]).fetchall()
        names = [row[0] for row in rows]
        yield "psycopg binds parameters", "admin.token" in names and all(name.startswith("admin.") for name in names), names
        secret = dict((row[0], row[1]) for row in rows)["admin.token"]
        yield "psycopg sees no secret", secret is not None and "token" not in secret.replace("***", ""), secret
        with connection.cursor(binary=True) as cursor:
            cursor.execute("SHOW STATS LIKE 'sessions_refused_total'")
            row = cursor.fetchone()
            yield "psycopg reads binary numbers", row == ("sessions_refused_total", 0.0), row
    with psycopg.connect(**arguments, cursor_factory=psycopg.ClientCursor, autocommit=True) as connection:
        row = connection.execute("SHOW VERSION LIKE %s", ["pgtally%"]).fetchone()
        yield "psycopg binds parameters itself", row is not None and row[0].startswith("pgtally "), row


async def asyncpg_checks(served):
    """asyncpg, whose pool resets connections with a statement of its own."""
    pool = await asyncpg.create_pool(
        host="127.0.0.1", port=served.port, database="pgtally", user="ann", password=served.environment["PGPASSWORD"],
        min_size=1, max_size=1)
    found = []
    for _ in range(3):
        async with pool.acquire() as connection:
            rows = await connection.fetch("SHOW STATS LIKE $1", "connections_opened%")
            found.append(float(rows[0]["value"]))
            try:
                await connection.fetch("SHOW NOTHING")
            except asyncpg.PostgresSyntaxError as error:
                found.append(error.sqlstate)
    await pool.close()
    return [("asyncpg's pool is served", found[1::2] == ["42601"] * 3 and min(found[::2]) >= 1, found)]


def node_checks(served, modules):
    """node-postgres, simple, extended and named."""
    environment = served.environment | {"NODE_PATH": str(modules), "PORT": str(served.port), "TOKEN": served.environment["PGPASSWORD"]}
    done = subprocess.run(["node", "-e", NODE], env=environment, capture_output=True, text=True, timeout=60)
    answer = json.loads(done.stdout) if done.returncode == 0 else None
    is_right = answer is not None and answer[0].startswith("pgtally ") and answer[1:] == ["relay.workers", True]
    yield "node-postgres is served", is_right, done.stdout + done.stderr


def jdbc_checks(served):
    """PostgreSQL's JDBC driver, extended, prepared at the server, and simple."""
    done = subprocess.run(
        ["java", "-cp", JDBC, JAVA, str(served.port)], env=served.environment, capture_output=True, text=True, timeout=120)
    said = [re.sub(r"pgtally \d\S*", "pgtally", line) for line in done.stdout.splitlines()]
    for mode in ("extended", "simple"):
        expected = [f"{mode} {line}" for line in ("version pgtally", "bound 8", "error 42601", "after pgtally")]
        answers_right = [line for line in said if line.startswith(mode)] == expected
        yield f"JDBC is served ({mode})", answers_right, done.stdout + done.stderr


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=Path, required=True, help="the binary")
    parser.add_argument("--node-modules", type=Path, required=True, help="where node-postgres is")
    arguments = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="pgtally-console-") as folder:
        with Served(arguments.pgtally.resolve(), Path(folder)) as served:
            checks = [*psql_checks(served), *psycopg_checks(served), *asyncio.run(asyncpg_checks(served)),
                      *node_checks(served, arguments.node_modules.resolve()), *jdbc_checks(served)]
    for name, is_right, detail in checks:
        passed, failed = passed + bool(is_right), failed + (not is_right)
        print(f"{'ok   ' if is_right else 'FAIL '} {name}" + ("" if is_right else f"\n      {detail}"), flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
