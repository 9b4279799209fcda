#!/usr/bin/env python3
"""Tagged reads of each driver, directly and through pgtally with its cache on: the same answers, and many of them kept.

Each script (`cached/`) reads the same things again and again in every form its driver has, with writes, transactions
and settings in between, and prints what it gets. Checked for each: both runs print the same, and at least as many of
its reads as are named here were answered from the cache.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from harness import scenarios
from harness.checks import Check, Tally
from harness.postgres import Postgres, StartError, find_binaries
from harness.proxy import Proxy, ProxyError

HERE = Path(__file__).resolve().parent
SCRIPT_SECONDS = 120
SETTINGS = {"PGTALLY__CACHE__ENABLED": "on", "PGTALLY__INSPECT__USER": "postgres"}


def drivers():
    """Name → (command, environment, least number of answers from the cache)."""
    python, cached = scenarios.PYTHON, HERE / "cached"
    return {
        "psycopg": ([python, cached / "with_psycopg.py"], {}, 40),
        # Its pool sends RESET ALL: what was prepared before is served again, as settings are compared by value.
        "asyncpg": ([python, cached / "with_asyncpg.py"], {}, 30),
        "sqlalchemy": ([python, cached / "with_sqlalchemy.py"], {}, 20),
        "django": ([python, cached / "with_django.py"], {"SERVER_SIDE_BINDING": "0"}, 20),
        "django-server-binding": ([python, cached / "with_django.py"], {"SERVER_SIDE_BINDING": "1"}, 20),
        "node-postgres": (["node", cached / "with_pg.js"], {}, 20),
        "pgjdbc": (["java", "-cp", scenarios.JDBC, cached / "CachedJdbc.java"], {}, 20),
    }


def run(name, url, port):
    """Runs one script; returns (what it printed, problem or None)."""
    command, more, _ = drivers()[name]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= more | {
        "PORT": str(port), "DATABASE_URL": url, "NODE_PATH": str(scenarios.NODE_MODULES),
        "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC",
    }
    try:
        done = subprocess.run(
            [str(word) for word in command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SCRIPT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "", f"not done after {SCRIPT_SECONDS} s"
    problem = None if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout, problem


def first_difference(found, expected):
    """Where two texts differ first, in words; None when they do not."""
    left, right = found.splitlines(), expected.splitlines()
    for number, (one, other) in enumerate(zip(left, right), 1):
        if one != other:
            return f"line {number}: {one!r:.300}, directly {other!r:.300}"
    return None if len(left) == len(right) else f"{len(left)} lines, directly {len(right)}"


def compare(name, postgres, proxy, tally):
    """One driver, both ways."""
    printed, problem = run(name, postgres.url(), postgres.port)
    tally.add(Check(f"{name} (direct): runs", problem is None, problem))
    before = hits(proxy)
    url = postgres.url().replace(f":{postgres.port}/", f":{proxy.port}/")
    found, problem = run(name, url, proxy.port)
    tally.add(Check(f"{name}: runs", problem is None, problem))
    difference = first_difference(found, printed)
    lines = len(printed.splitlines())
    tally.add(Check(f"{name}: prints what it prints directly ({lines} lines)", difference is None, difference))
    kept, least = hits(proxy) - before, drivers()[name][2]
    tally.add(Check(f"{name}: at least {least} answers from the cache", kept >= least, f"{kept}; {proxy.cache()['bypassed']}"))


def hits(proxy):
    """Answers from the cache so far."""
    return sum(tag["hits"] for tag in proxy.cache()["tags"])


def run_all(arguments, tally):
    """All drivers on one server."""
    os.environ |= SETTINGS
    chosen = [name for name in drivers() if not arguments.only or any(word in name for word in arguments.only)]
    with Postgres(find_binaries(arguments.pg_bin)) as postgres:
        print(f"PostgreSQL {postgres.version}, {len(chosen)} drivers", flush=True)
        failed_before = tally.failed
        subprocess.run(
            [scenarios.PYTHON, HERE / "python" / "seed.py", postgres.url(), HERE / "cached" / "schema.sql"], check=True,
        )
        upstream = f"postgresql://127.0.0.1:{postgres.port}"
        with Proxy(arguments.pgtally, upstream, postgres.base / "pgtally.log") as proxy:
            proxy.explain("SELECT 1")
            for name in chosen:
                compare(name, postgres, proxy, tally)
        postgres.keep = tally.failed > failed_before


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
