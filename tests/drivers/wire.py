#!/usr/bin/env python3
"""The same script of each driver, directly and through pgtally: no difference, on the wire or for the application.

A tap records the direct run. In the other run one tap stands before pgtally and one behind it. Checked for each driver:
both runs print the same; both sides say the same messages, process ids and cancel keys masked; and what goes in at one
side of pgtally comes out at the other, byte for byte, with nothing masked but the encryption requests, which pgtally
answers itself. Only the standard library is used here; the scripts (`wire/`) bring their own drivers.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from harness import scenarios, tap
from harness.checks import Check, Tally
from harness.postgres import Postgres, StartError, find_binaries
from harness.proxy import Proxy, ProxyError

HERE = Path(__file__).resolve().parent
SCRIPT_SECONDS = 120
SHOWN = 300
# What a driver sends may depend on how quick the answers come: how often it asks to flush, for instance.
TRIES = 4


def drivers():
    """Name → (command, environment)."""
    python, wire = scenarios.PYTHON, HERE / "wire"
    return {
        # Both of psycopg's implementations: the wheel brings a new libpq, the other one loads Debian's.
        "psycopg-libpq-18": ([python, wire / "with_psycopg.py", "18"], {"PSYCOPG_IMPL": "binary"}),
        "psycopg-libpq-15": ([python, wire / "with_psycopg.py", "15"], {"PSYCOPG_IMPL": "python"}),
        "asyncpg": ([python, wire / "with_asyncpg.py"], {}),
        "pg8000": ([python, wire / "with_pg8000.py"], {}),
        "node-postgres": (["node", wire / "with_pg.js"], {}),
        "postgres.js": (["node", wire / "with_postgres.js"], {}),
        "pgjdbc": (["java", "-cp", scenarios.JDBC, wire / "WithJdbc.java"], {}),
    }


def run(name, port):
    """Runs one script; returns (what it printed, problem or None)."""
    command, more = drivers()[name]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= more | {
        "PORT": str(port), "NODE_PATH": str(scenarios.NODE_MODULES), "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC",
    }
    try:
        done = subprocess.run(
            [str(word) for word in command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SCRIPT_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        return "", f"not done after {SCRIPT_SECONDS} s: {(late.stdout or b'')[-SHOWN:]}"
    problem = None if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout, problem


def difference(one, other):
    """Where two lists differ first, in words; None when they do not."""
    for index, (left, right) in enumerate(zip(one, other)):
        if left != right:
            return f"at {index}: {left!r:.{SHOWN}} and {right!r:.{SHOWN}}"
    return None if len(one) == len(other) else f"{len(one)} and {len(other)} of them"


def wire_checks(name, direct, before, beyond):
    """Everything that must hold about three records of one script."""
    ours, theirs = sorted(map(tap.said, before)), sorted(map(tap.said, direct))
    yield Check(f"{name}: as many connections", len(ours) == len(theirs), f"{len(ours)}, directly {len(theirs)}")
    for part, what in enumerate(("openings", "client's messages", "server's messages")):
        pairs = [difference(one[part], other[part]) for one, other in zip(ours, theirs)]
        found = [pair for pair in pairs if pair]
        yield Check(f"{name}: {what} as directly", not found, "; ".join(found))
    # A connection on which nothing is said is pgtally's own look whether the server is there.
    beyond = [connection for connection in beyond if connection.client]
    entered, left = sorted(map(tap.behind, before)), sorted(map(tap.behind, beyond))
    yield Check(f"{name}: bytes in are bytes out", entered == left, difference(entered, left))


def run_all(arguments, tally):
    """All drivers on one server."""
    chosen = [name for name in drivers() if not arguments.only or any(word in name for word in arguments.only)]
    with Postgres(find_binaries(arguments.pg_bin)) as postgres:
        print(f"PostgreSQL {postgres.version}, {len(chosen)} drivers", flush=True)
        failed_before = tally.failed
        subprocess.run([scenarios.PYTHON, HERE / "python" / "seed.py", postgres.url(), HERE / "wire" / "schema.sql"], check=True)
        beyond = tap.Tap(postgres.port)
        upstream = f"postgresql://127.0.0.1:{beyond.port}"
        with beyond, Proxy(arguments.pgtally, upstream, postgres.base / "pgtally.log") as proxy:
            for name in chosen:
                compare(name, postgres, proxy, beyond, tally)
            blind = proxy.blind_sessions()
            tally.add(Check("pgtally observed every session to its end", blind == 0, f"{blind} went blind"))
        postgres.keep = tally.failed > failed_before


def compare(name, postgres, proxy, beyond, tally):
    """One driver, both ways; again where it did not do the same twice."""
    for left in reversed(range(TRIES)):
        checks = compare_once(name, postgres, proxy, beyond)
        if left == 0 or all(check.ok for check in checks):
            break
    for check in checks:
        tally.add(check)


def compare_once(name, postgres, proxy, beyond):
    """The checks of one run each way."""
    with tap.Tap(postgres.port) as direct:
        printed, problem = run(name, direct.port)
        checks = [Check(f"{name} (direct): runs", problem is None, problem)]
        expected = direct.take()
    with tap.Tap(proxy.port) as before:
        found, problem = run(name, before.port)
        checks.append(Check(f"{name}: runs", problem is None, problem))
        entered, left = before.take(), beyond.take()
    lines, count = difference(found.splitlines(), printed.splitlines()), len(printed.splitlines())
    checks.append(Check(f"{name}: prints what it prints directly ({count} lines)", lines is None, lines))
    return [*checks, *wire_checks(name, expected, entered, left)]


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=Path, required=True, help="the binary")
    parser.add_argument("--pg-bin", help="directory of the PostgreSQL binaries (default: PGTALLY_PG_BIN, then Debian's)")
    parser.add_argument("only", nargs="*", help="run only drivers whose names contain one of these words")
    arguments = parser.parse_args()
    tally = Tally()
    try:
        run_all(arguments, tally)
    except (StartError, ProxyError, OSError, TimeoutError) as error:
        tally.add(Check("environment", False, str(error)))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
