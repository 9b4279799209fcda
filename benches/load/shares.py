#!/usr/bin/env python3
"""What attribution and detection take of pgtally's CPU per query at 32 clients.

Detection is all that the aggregator's thread does (merging, rules, metrics, libpg_query): its clock, of that of the whole
process, while pgbench runs. Attribution has no thread of its own: its share is that of the instructions which callgrind
counts in `analysis/src/attribution` among a worker's, of a long run less those of a short one, so that logins drop out. As
callgrind sees user space alone, that share is scaled by the user part of the CPU. `--max 5` makes the sum a gate.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

import endpoints
import machine
import measure
from postgres import Postgres, StartError

CLIENTS = 32
QUERIES = 8_000
LOAD_SECONDS = 5
WARM_UP_SECONDS = 1
MODES = ["simple", "prepared", "tagged"]
ATTRIBUTION = re.compile(r"analysis/src/attribution")


def costs(path):
    """Instructions by source file, of a profile."""
    names, spent = {}, Counter()
    file = ""
    is_call = False
    for line in path.read_text().splitlines():
        if match := re.match(r"f[lie]=\((\d+)\)(?: (.*))?$", line):
            if match[2]:
                names[match[1]] = match[2]
            file = names.get(match[1], "")
        elif match := re.match(r"cf[il]=\((\d+)\) (.*)$", line):
            names[match[1]] = match[2]
        elif line.startswith("calls="):
            is_call = True
        elif re.match(r"[-+*\d]", line):
            # What a called function costs is told in its own place.
            if not is_call:
                spent[file] += int(line.split()[1])
            is_call = False
    return spent


def run(postgres, endpoint, mode, *how_long):
    """One run of pgbench."""
    postgres.pgbench(endpoint.port, *measure.workload(postgres, mode), "-n", "-c", CLIENTS, "-j", 1, *how_long)


def profile(postgres, pgtally, mode, queries):
    """Instructions of attribution and of everything, for so many queries."""
    output = postgres.base / "shares.out"
    endpoint = endpoints.make("pgtally", postgres, pgtally, None)
    endpoint.command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", *endpoint.command]
    with endpoint:
        run(postgres, endpoint, mode, "-t", queries // CLIENTS)
    spent = costs(output)
    output.unlink()
    return sum(cost for file, cost in spent.items() if ATTRIBUTION.search(file)), sum(spent.values())


def attribution(postgres, pgtally, mode):
    """Share of the instructions in user space."""
    short, long = (profile(postgres, pgtally, mode, queries) for queries in (QUERIES, 3 * QUERIES))
    return (long[0] - short[0]) / (long[1] - short[1])


def clocks(pid):
    """Nanoseconds by thread."""
    spent = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent[(task / "comm").read_text().strip()] += int((task / "schedstat").read_text().split()[0])
    return spent


def detection(postgres, pgtally, mode):
    """Share of the CPU, and how much of the CPU is in user space."""
    with endpoints.make("pgtally", postgres, pgtally, None) as endpoint:
        run(postgres, endpoint, mode, "-T", WARM_UP_SECONDS)
        before, ticks_before = clocks(endpoint.pid), machine.cpu(endpoint.pid)
        run(postgres, endpoint, mode, "-T", LOAD_SECONDS)
        spent, ticks = clocks(endpoint.pid) - before, machine.cpu(endpoint.pid)
    user, system = ticks.user - ticks_before.user, ticks.system - ticks_before.system
    return spent["aggregator"] / spent.total(), user / (user + system)


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=lambda text: Path(text).resolve(), required=True, help="a release build with line numbers")
    parser.add_argument("--max", type=float, help="fail when both together take more percent of the CPU")
    options = parser.parse_args()
    is_too_much = False
    print("of the CPU  attribution  detection  together")
    with Postgres(1) as postgres:
        for mode in MODES:
            detecting, user = detection(postgres, options.pgtally, mode)
            attributing = attribution(postgres, options.pgtally, mode) * user
            together = 100 * (attributing + detecting)
            print(f"{mode:10} {100 * attributing:10.1f} % {100 * detecting:8.1f} % {together:7.1f} %", flush=True)
            is_too_much |= options.max is not None and together > options.max
    return 1 if is_too_much else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartError as error:
        sys.exit(f"benches/load: {error}")
