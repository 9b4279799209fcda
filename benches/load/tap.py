#!/usr/bin/env python3
"""What an open live tap costs the relay: CPU per query at a fixed rate, with and without somebody who listens.

Runs alternate, so that what else the machine does meets both; the figure is the median of the rounds' ratios. Statements
that the listener did not get are those that pgtally counts as dropped.
"""

import argparse
import os
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path

import machine
from endpoints import Endpoint
from postgres import Postgres, StartError, free_port


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pgtally", type=lambda text: Path(text).resolve(), required=True, help="the release binary")
    parser.add_argument("--rate", type=int, default=5000, help="statements per second; default: 5000")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=5, help="of one run; default: 5")
    parser.add_argument("--core", type=int, default=0, help="core to run on; default: 0; -1 for all")
    parser.add_argument("--filter", default="", help="what the listener asks for; default: everything")
    return parser.parse_args()


def cpu_us(postgres, endpoint, options):
    """pgtally's CPU per query, and the rate that was reached."""
    before = machine.cpu(endpoint.pid)
    result = postgres.pgbench(endpoint.port, "-S", "-M", "prepared", "-n", "-c", 8, "-j", 1, "-R", options.rate,
                              "-T", options.seconds)
    used = machine.cpu(endpoint.pid) - before
    lines = {line.partition(":")[0]: line.partition(":")[2] for line in result.stdout.splitlines()}
    transactions = int(lines["number of transactions actually processed"].split("/")[0])
    return used.total / transactions / 1000, transactions / options.seconds


def dropped(admin):
    """Statements that were not shown, for want of room or of a faster reader."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines
               if line.startswith('pgtally_observations_dropped_total{reason="tap"}'))


def tapped(options, admin, sink):
    """A listener, once it listens."""
    url = f"http://127.0.0.1:{admin}"
    listener = subprocess.Popen([str(options.pgtally), "tap", "--url", url, options.filter], stdout=sink)
    return listener


def measure(options, postgres):
    """All rounds."""
    admin = free_port()
    command = [options.pgtally, "serve", "--listen", "127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--upstream",
               "127.0.0.1:{upstream}", "--workers", "1"]
    shown_file = postgres.base / "tapped.ndjson"
    ratios = []
    with Endpoint("pgtally", postgres, command) as endpoint:
        cpu_us(postgres, endpoint, options)
        for number in range(options.rounds):
            silent, _ = cpu_us(postgres, endpoint, options)
            lost_before = dropped(admin)
            with shown_file.open("w") as sink:
                listener = tapped(options, admin, sink)
                heard, rate = cpu_us(postgres, endpoint, options)
                listener.terminate()
                listener.wait()
            shown = sum(1 for _ in shown_file.open())
            ratios.append(heard / silent)
            print(f"round {number + 1}: {rate:.0f} statements/s, CPU per query {silent:.2f} us alone, {heard:.2f} us "
                  f"tapped, ratio {heard / silent:.3f}; {shown} shown, {dropped(admin) - lost_before:.0f} dropped", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def main():
    """Returns the exit code."""
    options = arguments()
    if options.core >= 0:
        os.sched_setaffinity(0, {options.core})
    try:
        with Postgres(5) as postgres:
            measure(options, postgres)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
