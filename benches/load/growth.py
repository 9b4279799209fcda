#!/usr/bin/env python3
"""How pgtally's CPU per statement grows: with the shapes that come, the statements of a request, and the sessions.

Each figure is that of the analysis, as the ratio of pgtally's CPU per statement to that of one with `--analysis off` under
the same load: what is sent costs a relay more as well. Runs alternate; figures are medians of the rounds' ratios. Memory is
that of the process after the run.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import endpoints
import machine
import measure
from postgres import Postgres, StartError

SHAPES = [10, 1_000, 10_000, 100_000]
STATEMENTS = [1, 10, 100, 1_000, 10_000]
SESSIONS = [1, 32, 500]
ROWS = 100_000
# CPU within a second below which a process is at rest.
AT_REST_NS = 20_000_000


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pgtally", type=lambda text: Path(text).resolve(), required=True, help="the release binary")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--seconds", type=int, default=4, help="of one run; default: 4")
    parser.add_argument("--core", type=int, default=0, help="core to run on; default: 0; -1 for all")
    return parser.parse_args()


def of_shapes(postgres, shapes):
    """Statements of so many shapes, at random: a column's name differs."""
    script = postgres.base / f"shapes-{shapes}.sql"
    script.write_text(f"\\set n random(1, {shapes})\nSELECT abalance AS c:n FROM pgbench_accounts WHERE aid = :n;\n")
    return ["-f", script, "-c", 8], 1


def of_statements(postgres, statements):
    """Requests of so many statements, each in a session of its own."""
    script = postgres.base / f"statements-{statements}.sql"
    lines = [f"\\set r random(1, 1000000000)\n\\set k random(1, {ROWS})\n"]
    lines += ["SELECT abalance FROM pgbench_accounts WHERE aid = :k /*request_id='r:r'*/;\n"] * statements
    script.write_text("".join(lines))
    return ["-f", script, "-c", 8], statements


def of_sessions(_postgres, sessions):
    """So many sessions at once."""
    return ["-S", "-M", "prepared", "-c", sessions], 1


def settle(pid):
    """Waits until pgtally is at rest: what its tick and its aggregator have yet to do belongs to the run."""
    before = machine.cpu(pid).total
    while True:
        time.sleep(1)
        now = machine.cpu(pid).total
        if now - before < AT_REST_NS:
            return
        before = now


def cpu_us(postgres, endpoint, options, load):
    """CPU per statement of one run."""
    words, statements = load
    before = machine.cpu(endpoint.pid)
    result = postgres.pgbench(endpoint.port, *words, "-n", "-j", 1, "-T", options.seconds)
    if result.returncode != 0:
        raise StartError(f"pgbench failed:\n{result.stderr[-2000:]}")
    settle(endpoint.pid)
    used = machine.cpu(endpoint.pid) - before
    transactions = measure.number(r"transactions actually processed: (\d+)", result)
    return used.total / transactions / statements / 1000


def compare(postgres, options, load):
    """(µs with the analysis, ratio to that without it, MiB) of a load, medians."""
    spent, ratios, resident = [], [], 0
    for _ in range(options.rounds):
        figures = {}
        for name in ("pgtally-off", "pgtally"):
            with endpoints.make(name, postgres, options.pgtally, None) as endpoint:
                figures[name] = cpu_us(postgres, endpoint, options, load)
                resident = machine.resident_kib(endpoint.pid) / 1024
        spent.append(figures["pgtally"])
        ratios.append(figures["pgtally"] / figures["pgtally-off"])
    return statistics.median(spent), statistics.median(ratios), resident


def main():
    """Returns the exit code."""
    options = arguments()
    if options.core >= 0:
        os.sched_setaffinity(0, {options.core})
    loads = [(of_shapes, SHAPES, "shapes"), (of_statements, STATEMENTS, "statements per request"),
             (of_sessions, SESSIONS, "sessions")]
    try:
        with Postgres(1, max(SESSIONS) + 50) as postgres:
            print("| load | CPU µs per statement | × analysis off | MiB |\n|---|---|---|---|")
            for load_of, sizes, name in loads:
                for size in sizes:
                    spent, ratio, resident = compare(postgres, options, load_of(postgres, size))
                    print(f"| {size:,} {name} | {spent:.1f} | {ratio:.2f} | {resident:.0f} |", flush=True)
    except StartError as error:
        print(f"benches/load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
