#!/usr/bin/env python3
"""Runs real applications against PostgreSQL, directly and through pgtally, and compares.

The truth is the server's log: for every request of every application, the number of statements that pgtally
reports must equal the number that PostgreSQL logged, with the level of attribution, the route and the findings that
the application announced. Only the standard library is used here; the applications bring their own drivers.

What a scenario may announce about a request, beside its number, page and times (`python/announce.py`):

  route, level     what pgtally must say; `level` lists the attributions that are right
  key              key of the request in pgtally's API, where it has a name; else its time tells which it is
  units            how many requests or units pgtally must show for it (default 1, null for any number)
  counted          statements that the author of the scenario knows it to run
  by_text          a text in all its statements, for requests that run at the same time
  linked           the column (or columns) that an N+1 finding must name
  other_kinds      further findings it must have
  needs_gap        nothing but a pause separates it from the next request
  only_total       it opens connections: only the totals must agree
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from harness import checks, scenarios, sqltext
from harness.checks import Tally
from harness.postgres import Postgres, StartError, find_binaries
from harness.proxy import Proxy, ProxyError
from harness.serverlog import ServerLog, by_request

HERE = Path(__file__).resolve().parent
SCENARIO_SECONDS = 120
# Findings are promised 2 s after a request's last statement; the rest is for a busy machine.
SETTLE_SECONDS = 6


def run_script(scenario, database_url, marker_url, announce, is_paused):
    """Runs one application to its end; returns (what it announced, problem or None)."""
    announce.unlink(missing_ok=True)
    environment = dict(os.environ)
    for name in [name for name in environment if name.startswith("PG")]:
        # The scenarios name their server themselves.
        del environment[name]
    environment |= {
        "DATABASE_URL": database_url,
        "MARKER_URL": marker_url,
        "DRIVERS_ANNOUNCE": str(announce),
        "DRIVERS_PAUSE": "1" if is_paused else "0",
        "NODE_PATH": str(scenarios.NODE_MODULES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            scenario.command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SCENARIO_SECONDS,
        )
        problem = None if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-2000:]}"
    except subprocess.TimeoutExpired:
        problem = f"not done after {SCENARIO_SECONDS} s"
    lines = announce.read_text().splitlines() if announce.exists() else []
    return [json.loads(line) for line in lines], problem


class Runner:
    """Runs scenarios on one server, directly and, if there is one, through a proxy."""

    def __init__(self, postgres, proxy, tally):
        self.postgres = postgres
        self.proxy = proxy
        self.tally = tally
        self.log = ServerLog(postgres.log_path)
        self.announce = postgres.base / "announce.jsonl"

    def run(self, scenario):
        """One scenario, both ways."""
        announced, logged = self._pass(scenario, f"{scenario.name} (direct)", self.postgres.url())
        if announced is None:
            return
        direct_counts = checks.log_counts(announced, logged)
        for check in checks.direct_checks(f"{scenario.name} (direct)", announced, logged):
            self.tally.add(check)
        if self.proxy is None:
            show(announced, direct_counts, logged, self.tally.is_verbose)
            return
        self.proxy.reset()
        announced, logged = self._pass(scenario, scenario.name, self.postgres.url(self.proxy.port))
        if announced is None:
            return
        for check in self._settled(scenario, announced, direct_counts, logged):
            self.tally.add(check)
        show(announced, checks.log_counts(announced, logged), logged, self.tally.is_verbose)
        if self.tally.is_verbose:
            for request in self.proxy.requests():
                print("      reported", {name: value for name, value in request.items() if name != "statements"})
            for finding in self.proxy.findings():
                print("      found", finding)

    def _pass(self, scenario, name, url):
        """Runs the script once; returns (announced, log by request), or (None, None) after reporting a failure."""
        self._seed()
        self.log.skip()
        announced, problem = run_script(scenario, url, self.postgres.url(), self.announce, url != self.postgres.url())
        if problem is None and not announced:
            problem = "it announced no request"
        self.tally.add(checks.Check(f"{name}: runs", problem is None, problem))
        if problem:
            return None, None
        last = max(request["number"] for request in announced if "start" in request)
        return announced, by_request(self.log.read_until(("end", last)))

    def _seed(self):
        """Lays the tables anew."""
        subprocess.run(
            [scenarios.PYTHON, HERE / "python" / "seed.py", self.postgres.url(), HERE / "schema.sql"], check=True
        )

    def _settled(self, scenario, announced, direct_counts, logged):
        """The checks, once all pass or pgtally has had its time. A request that is open has yet to be judged."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            requests = self.proxy.requests()
            done = list(
                checks.proxied_checks(
                    scenario.name, announced, direct_counts, logged, requests, self.proxy.findings()
                )
            )
            is_judged = not any(request["open"] for request in requests)
            if (is_judged and all(check.ok for check in done)) or time.monotonic() > deadline:
                return done
            time.sleep(0.1)


def show(announced, counts, logged, is_verbose):
    """Prints the log of each request, for somebody who looks into a difference."""
    if not is_verbose:
        return
    for request in announced:
        print(f"      {request['number']:>2} {request['page']}: {counts[request['number']]} counted")
        for statement in logged.get(request["number"], []):
            print(f"           [{statement.pid}] {statement.counted} {statement.text[:150]!r}")


def check_rule(tally):
    """The counting rule on texts whose answer is known, before it judges anybody."""
    wrong = [(text, count, sqltext.counted(text)) for text, count in sqltext.EXAMPLES if sqltext.counted(text) != count]
    tally.add(checks.Check(f"counting rule on {len(sqltext.EXAMPLES)} texts", not wrong, f"{wrong}"))


def run_all(arguments, tally):
    """Everything, on one server."""
    chosen = [s for s in scenarios.ALL if not arguments.only or any(word in s.name for word in arguments.only)]
    with Postgres(find_binaries(arguments.pg_bin)) as postgres:
        failed_before = tally.failed
        print(f"PostgreSQL {postgres.version}, {len(chosen)} scenarios", flush=True)
        if arguments.pgtally is None:
            runner = Runner(postgres, None, tally)
            for scenario in chosen:
                runner.run(scenario)
        else:
            with Proxy(arguments.pgtally, postgres.url(), postgres.base / "pgtally.log") as proxy:
                runner = Runner(postgres, proxy, tally)
                for scenario in chosen:
                    runner.run(scenario)
                blind = proxy.blind_sessions()
                tally.add(checks.Check("pgtally observed every session to its end", blind == 0, f"{blind} went blind"))
                tally.add(checks.Check("pgtally is still running", proxy.is_alive(), "it ended"))
        postgres.keep = tally.failed > failed_before


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=Path, help="the binary; without it, only the scenarios themselves are checked")
    parser.add_argument("--pg-bin", help="directory of the PostgreSQL binaries (default: PGTALLY_PG_BIN, then Debian's)")
    parser.add_argument("--verbose", action="store_true", help="print the server's log of each request")
    parser.add_argument("only", nargs="*", help="run only scenarios whose names contain one of these words")
    arguments = parser.parse_args()
    tally = Tally(arguments.verbose)
    check_rule(tally)
    try:
        run_all(arguments, tally)
    except (StartError, ProxyError, OSError, TimeoutError) as error:
        tally.add(checks.Check("environment", False, str(error)))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
