#!/usr/bin/env python3
"""What answers of the admin listener take: a scrape of 100 routes and 100 fingerprints, and every page beside 1,000
findings and 10,000 statements.

psql sends the traffic, so that all of it is real. Of every answer the median and the worst time, each over a connection
of its own, and pgtally's processor time, which is nearly the same on a quiet machine, and nearly the same on every other:
that is what `--check` compares.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import machine
from endpoints import Endpoint
from postgres import Postgres, StartError, free_port

SCRAPE_MS_MAX = 20
PAGE_MS_MAX = 100
ROUTES = 100
SHAPES = 100
# With those of the routes and findings nearly the 10,000 that are tracked; beyond, a tenth of them makes room.
STATEMENTS = 9_800
FINDINGS = 1_000
WAIT_SECONDS = 120
PAGES = ["/", "/?filter=n%3E2%20-slow", "/findings/{finding}", "/routes", "/requests", "/requests/{request}", "/statements",
         "/statements?filter=c77", "/statements/{fingerprint}", "/tap", "/cache", "/health"]


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pgtally", type=lambda text: Path(text).resolve(), required=True, help="the release binary")
    parser.add_argument("--rounds", type=int, default=20, help="answers of each kind; default: 20")
    parser.add_argument("--check", action="store_true",
                        help=f"fail when a scrape takes {SCRAPE_MS_MAX} ms of a processor, or a page {PAGE_MS_MAX} ms")
    return parser.parse_args()


def of_routes():
    """Every shape on every route, each pair in a request of its own."""
    for route in range(ROUTES):
        for shape in range(SHAPES):
            yield f"SELECT 1 AS r{shape} /*request_id='m{route}-{shape}',route='%2Fm{route}'*/;"


def of_statements():
    """Many shapes."""
    return (f"SELECT 1 AS c{number};" for number in range(STATEMENTS))


def of_findings():
    """The same read three times in one request, on many routes."""
    yield "CREATE TABLE accounts (id int);"
    for number in range(FINDINGS):
        for _ in range(3):
            yield f"SELECT count(*) FROM accounts /*request_id='f{number}',route='%2Ff{number}'*/;"


class Admin:
    """pgtally's admin listener."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path):
        """A whole answer."""
        with urllib.request.urlopen(self.url + path, timeout=WAIT_SECONDS) as answer:
            return answer.read()

    def json(self, path):
        """An answer of the API."""
        return json.loads(self.get(f"/api/v1/{path}"))

    def wait_for(self, what, count):
        """Waits until a list has so many entries."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (found := self.number_of(what)) < count:
            if time.monotonic() > deadline:
                raise StartError(f"{found} {what} instead of {count}")
            time.sleep(0.2)

    def number_of(self, what):
        """Entries of a list, whether they are all shown or not."""
        answer = self.json(what)
        return answer.get("total", len(answer[what]))


def send(postgres, port, name, texts):
    """Sends statements by psql, one message each."""
    script = postgres.base / f"{name}.sql"
    script.write_text("\n".join(texts))
    subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", script,
                    f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable"], check=True)


def measured(admin, pid, path, rounds):
    """(median ms, worst ms, processor ms, bytes) of an answer."""
    admin.get(path)
    times, size, before = [], 0, machine.cpu(pid)
    for _ in range(rounds):
        start = time.perf_counter()
        size = len(admin.get(path))
        times.append((time.perf_counter() - start) * 1000)
    used = (machine.cpu(pid) - before).total / 1e6 / rounds
    return statistics.median(times), max(times), used, size


def report(admin, pid, path, rounds, name):
    """Prints one line; the processor time in ms."""
    median, worst, used, size = measured(admin, pid, path, rounds)
    print(f"{name:32} {median:8.1f} {worst:8.1f} {used:8.1f} {size // 1024:8d}", flush=True)
    return used


def measure(options, postgres):
    """Everything; the names of what took too long."""
    port = free_port()
    admin = Admin(port)
    command = [options.pgtally, "serve", "--listen", "127.0.0.1:{port}", "--admin", f"127.0.0.1:{port}", "--upstream",
               "127.0.0.1:{upstream}"]
    with Endpoint("pgtally", postgres, command) as endpoint:
        print(f"{'answer':32} {'median':>8} {'worst':>8} {'CPU ms':>8} {'KiB':>8}")
        send(postgres, endpoint.port, "routes", of_routes())
        admin.wait_for("routes", ROUTES)
        series = sum(not line.startswith(b"#") for line in admin.get("/metrics").splitlines())
        used = report(admin, endpoint.pid, "/metrics", options.rounds, f"/metrics, {series} series")
        slow = ["/metrics"] if used >= SCRAPE_MS_MAX else []
        send(postgres, endpoint.port, "statements", of_statements())
        send(postgres, endpoint.port, "findings", of_findings())
        admin.wait_for("statements", STATEMENTS)
        admin.wait_for("findings", FINDINGS)
        finding = admin.json("findings?limit=1")["findings"][0]
        # Those of a finding may be among those that are no longer kept.
        request = admin.json("requests?limit=1")["requests"][0]
        statement = admin.json("statements?limit=1")["statements"][0]
        names = {"finding": finding["id"], "request": request["key"], "fingerprint": statement["fingerprint"]}
        for page in PAGES:
            path = page.format(**names)
            used = report(admin, endpoint.pid, path, options.rounds, page)
            slow += [path] if used >= PAGE_MS_MAX else []
    return slow


def main():
    """Returns the exit code."""
    options = arguments()
    try:
        with Postgres(1) as postgres:
            slow = measure(options, postgres)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    if slow and options.check:
        print(f"too slow: {', '.join(slow)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
