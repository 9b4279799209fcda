#!/usr/bin/env python3
"""Runs the pages of real libraries through pgtally and scores what it finds: precision and recall for each kind.

Each page runs on a connection of its own that names its request, so that all findings of a page carry its name.
`corpus/labels.txt` says what must be found. See `corpus/README.md`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from harness import corpus
from harness.postgres import Postgres, StartError, find_binaries
from harness.proxy import Proxy, ProxyError
from harness.scenarios import PYTHON
from run import Tally
from harness.checks import Check

HERE = Path(__file__).resolve().parent
PROGRAM_SECONDS = 120
# Sessions are closed when a program ends; the rest is for a busy machine.
SETTLE_SECONDS = 20
# Neither may fall.
PRECISION_MIN = 0.99
RECALL_MIN = 0.99
PAGES_MIN = 120


def run_program(program, database_url):
    """Runs one library's pages; returns (their names, problem or None)."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    variables |= corpus.environment() | {"DATABASE_URL": database_url}
    try:
        done = subprocess.run(
            program.command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PROGRAM_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return [], f"not done after {PROGRAM_SECONDS} s"
    problem = None if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-3000:]}"
    return [line for line in done.stdout.splitlines() if "." in line], problem


def seed(url):
    """Lays the tables anew."""
    subprocess.run([PYTHON, HERE / "python" / "seed.py", url, HERE / "corpus" / "schema.sql"], check=True)


def settled(proxy, pages):
    """Reported requests by route, once each page has one and none is open."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        requests = {request["route"]: request for request in proxy.requests()}
        is_settled = all(page in requests and not requests[page]["open"] for page in pages)
        if is_settled or time.monotonic() > deadline:
            return requests
        time.sleep(0.1)


def run_all(arguments, tally):
    """Every program on one server, then the score."""
    chosen = [it for it in corpus.programs() if not arguments.only or any(word in it.name for word in arguments.only)]
    with Postgres(find_binaries(arguments.pg_bin)) as postgres:
        with Proxy(arguments.pgtally, postgres.url(), postgres.base / "pgtally.log") as proxy:
            pages = []
            for program in chosen:
                if not corpus.is_installed(program):
                    print(f"      {program.name}: left out, its library is not installed", flush=True)
                    continue
                seed(postgres.url())
                names, problem = run_program(program, postgres.url(proxy.port))
                tally.add(Check(f"{program.name}: {len(names)} pages: runs", bool(names) and problem is None, problem))
                pages += names
            requests = settled(proxy, pages)
            findings = proxy.findings()
        postgres.keep = arguments.keep
    judge(arguments, tally, pages, requests, findings)


def judge(arguments, tally, pages, requests, findings):
    """The checks about all pages together."""
    labels = corpus.read_labels()
    unlabelled = [page for page in pages if corpus.labels_of(labels, page) is None]
    tally.add(Check("every page has its labels", not unlabelled, f"{unlabelled}"))
    unseen = [page for page in pages if page not in requests]
    tally.add(Check("every page is a request of its own", not unseen, f"{unseen}"))
    score, silent = corpus.Score(), 0
    for page in pages:
        wanted = corpus.labels_of(labels, page) or []
        silent += not wanted
        score.page(page, wanted, [finding for finding in findings if finding["route"] == page])
    print(f"{len(pages)} pages of {len({page.partition('.')[0] for page in pages})} libraries, {silent} without a fault")
    print("\n".join(score.lines()), flush=True)
    if arguments.only:
        return
    tally.add(Check(f"at least {PAGES_MIN} pages", len(pages) >= PAGES_MIN, f"{len(pages)}"))
    tally.add(Check("a third of them without a fault", silent * 3 >= len(pages), f"{silent}"))
    tally.add(Check(f"precision {PRECISION_MIN}", score.precision() >= PRECISION_MIN, f"{score.precision():.3f}"))
    tally.add(Check(f"recall {RECALL_MIN}", score.recall() >= RECALL_MIN, f"{score.recall():.3f}"))


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=Path, required=True, help="the binary")
    parser.add_argument("--pg-bin", help="directory of the PostgreSQL binaries (default: PGTALLY_PG_BIN, then Debian's)")
    parser.add_argument("--keep", action="store_true", help="keep the server's files, its log of all statements included")
    parser.add_argument("only", nargs="*", help="run only programs whose names contain one of these words, without floors")
    arguments = parser.parse_args()
    tally = Tally(True)
    try:
        run_all(arguments, tally)
    except (StartError, ProxyError, OSError, subprocess.SubprocessError) as error:
        tally.add(Check("environment", False, str(error)))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
