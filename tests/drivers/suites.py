#!/usr/bin/env python3
"""The drivers' own published test suites, directly and through pgtally: the same tests pass, fail and are skipped.

What a suite asks of its server (other accounts, other settings, replicas) is not there, so some of its tests fail or are
skipped: they must do so in both runs. Two servers that are alike stand behind the two runs, so that what a suite leaves
behind changes nothing. A test with another outcome is run again and again, alone, in both: suites have tests of timing,
which now pass and now fail wherever they run, and what counts then is that both sides show the same outcomes. Where the
time of one hop more decides, the other side is that of a relay that looks at nothing. Only the standard library is used
here; suites are the sources of packages from PyPI (`--suites`, see run.sh).
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter, namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import scenarios
from harness.checks import Check, Tally
from harness.hop import Hop
from harness.postgres import Postgres, StartError, find_binaries
from harness.proxy import Proxy, ProxyError

SUITE_SECONDS = 420
# Runs, on each side, of a test that went one way here and another there: until both sides have shown the same outcomes,
# be it one or be it two that change by chance, but at least so often that an outcome of every third run is seen.
TRIES_MIN = 8
TRIES_MAX = 40

# What to run of which package, which part of it is kept (the rest is the driver itself, which is installed), and what
# is left out, with the reason.
Suite = namedtuple("Suite", "name kept tests left_out")
SUITES = [
    Suite("asyncpg", "tests", ["tests"], [
        # These start servers of their own, which nobody stands in front of.
        "tests/test_connect.py", "tests/test_adversity.py", "tests/test__sourcecode.py",
    ]),
    Suite("pg8000", "test", ["test/native", "test/dbapi"], [
        # Wants servers with one way to authenticate each.
        "test/native/auth", "test/dbapi/auth",
        # Who is quicker, a backend that ends or the client's next message, decides over these.
        "test/native/test_connection.py::test_broken_pipe_read", "test/dbapi/test_connection.py::test_broken_pipe_read",
    ]),
    Suite("psycopg2_binary", "tests", ["tests"], []),
]


def unpack(archives, suite, folder):
    """Lays a suite's tests into `folder`."""
    archive, = archives.glob(f"{suite.name}-*.tar.gz")
    with tarfile.open(archive) as source:
        members = [m for m in source.getmembers() if len(p := Path(m.name).parts) > 1 and p[1] == suite.kept]
        source.extractall(folder, members, filter="data")
    top, = folder.iterdir()
    return top


def outcomes(folder, tests, port, left_out=()):
    """Name of each test → how it went."""
    report = folder / f"report-{port}.xml"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= {
        "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGDATABASE": "postgres", "PGPASSWORD": "pw",
        "PSYCOPG2_TESTDB": "postgres", "PSYCOPG2_TESTDB_HOST": "127.0.0.1", "PSYCOPG2_TESTDB_PORT": str(port),
        "PSYCOPG2_TESTDB_USER": "postgres", "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [scenarios.PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", f"--junitxml={report}"]
    command += [*(f"--{'deselect' if '::' in path else 'ignore'}={path}" for path in left_out), *tests]
    subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=SUITE_SECONDS, check=False,
    )
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        how = {child.tag for child in case} & {"error", "failure", "skipped"}
        found[f"{case.get('classname')}.{case.get('name')}"] = next(iter(sorted(how)), "passed")
    return found


def selector(name):
    """What pytest calls the test of a report's `package.module.Class.test`."""
    parts = name.split(".")
    module = next(index for index, part in enumerate(parts) if part.startswith("test_") and index > 0)
    return "::".join(["/".join(parts[: module + 1]) + ".py", *parts[module + 1 :]])


def settle(folder, name, direct, proxied):
    """Runs a test again on both sides, and then through a relay that looks at nothing; says in words how they differ, if
    they do."""
    expected, found = Counter(), Counter()
    for tries in range(1, TRIES_MAX + 1):
        expected[outcomes(folder, [selector(name)], direct).get(name)] += 1
        found[outcomes(folder, [selector(name)], proxied).get(name)] += 1
        if tries >= TRIES_MIN and set(expected) == set(found):
            if len(found) > 1:
                print(f"by chance on both sides: {name}: {dict(found)}, directly {dict(expected)}", flush=True)
            return None
    return through_a_hop(folder, name, direct, found, expected)


def through_a_hop(folder, name, direct, found, expected):
    """Whether a bare relay shows the outcomes found; how they differ if it doesn't."""
    hopped = Counter()
    with Hop(direct) as hop:
        for _ in range(TRIES_MAX):
            hopped[outcomes(folder, [selector(name)], hop.port).get(name)] += 1
            if set(found) <= set(expected) | set(hopped):
                print(f"by one hop more: {name}: {dict(found)}, through a bare relay {dict(hopped)}, "
                      f"directly {dict(expected)}", flush=True)
                return None
    return f"{name}: {dict(found)}, through a bare relay {dict(hopped)}, directly {dict(expected)}"


def compare(suite, folder, direct, proxied, tally):
    """One suite, both ways."""
    with ThreadPoolExecutor() as pool:
        expected, found = pool.map(lambda port: outcomes(folder, suite.tests, port, suite.left_out), (direct, proxied))
    passed = Counter(expected.values())
    tally.add(Check(f"{suite.name}: {passed['passed']} of {len(expected)} tests pass directly", passed["passed"] > 100, f"{passed}"))
    others = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    others = [difference for name in others if (difference := settle(folder, name, direct, proxied))]
    tally.add(Check(f"{suite.name}: through pgtally every test ends the same", not others, "; ".join(others)))


def run_all(arguments, tally):
    """All suites."""
    binaries = find_binaries(arguments.pg_bin)
    chosen = [suite for suite in SUITES if not arguments.only or suite.name in arguments.only]
    with Postgres(binaries) as first, Postgres(binaries) as second:
        print(f"PostgreSQL {first.version}, {len(chosen)} suites", flush=True)
        with Proxy(arguments.pgtally, second.url(), second.base / "pgtally.log") as proxy:
            for suite in chosen:
                with tempfile.TemporaryDirectory() as folder:
                    compare(suite, unpack(arguments.suites, suite, Path(folder)), first.port, proxy.port, tally)
            tally.add(Check("pgtally is still running", proxy.is_alive(), "it ended"))


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=Path, required=True, help="the binary")
    parser.add_argument("--pg-bin", help="directory of the PostgreSQL binaries (default: PGTALLY_PG_BIN, then Debian's)")
    parser.add_argument("--suites", type=Path, default=scenarios.CACHE / "suites", help="directory of the packages' sources")
    parser.add_argument("only", nargs="*", help="run only these suites")
    arguments = parser.parse_args()
    tally = Tally()
    try:
        run_all(arguments, tally)
    except (StartError, ProxyError, OSError, subprocess.TimeoutExpired) as error:
        tally.add(Check("environment", False, str(error)))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
