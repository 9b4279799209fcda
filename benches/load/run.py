#!/usr/bin/env python3
"""Loads pgtally, its peers and a bare relay with pgbench -S, side by side and interleaved.

Everything, this program included, runs on one core: wake-ups across cores cost more than the proxying and make the
figures a matter of what else the machine does. Use the ratios. CPU is the run time of the proxy's process tree as the
scheduler counts it, over the transactions that pgbench reports; a run's logins are in it, so very short runs flatter
those who keep warm connections. The same goes for TPS at many clients: a pool's backends are warm.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import endpoints
import machine
import measure
import report
from postgres import Postgres, StartError

RESULTS = Path(__file__).resolve().parent.parent / "results"
WARM_UP_SECONDS = 1


def arguments():
    """The command line."""
    def names(text):
        return text.split(",")

    def numbers(text):
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pgtally", type=lambda text: Path(text).resolve(), required=True, help="the binary; run.sh builds it when not given")
    parser.add_argument("--floor", type=lambda text: Path(text).resolve(), required=True, help="the bare relay; run.sh builds it when not given")
    known = ",".join(endpoints.NAMES)
    parser.add_argument("--endpoints", type=names, default=endpoints.USUAL, help=f"of {known}; default: {','.join(endpoints.USUAL)}")
    parser.add_argument("--modes", type=names, default=["simple", "extended", "prepared"], help=f"of {','.join(measure.MODES)}; default: the first three")
    parser.add_argument("--clients", type=numbers, default=[1, 32], help="default: 1,32")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5; 0 leaves the load out")
    parser.add_argument("--seconds", type=int, default=5, help="of one run; default: 5")
    parser.add_argument("--scale", type=int, default=20, help="of pgbench's tables; default: 20")
    parser.add_argument("--core", type=int, default=0, help="core to run on; default: 0; -1 for all")
    parser.add_argument("--system-calls", action="store_true", help="count system calls per query with strace")
    parser.add_argument("--instructions", action="store_true", help="count user-space instructions per query, valgrind")
    parser.add_argument("--idle", type=numbers, default=[], help="measure memory with so many sessions: 100,500")
    parser.add_argument("--calls-max", type=float, help="fail when pgtally makes more system calls per query, 1 client")
    parser.add_argument("--results", type=Path, default=RESULTS / time.strftime("%Y-%m-%d"), help="directory to write to")
    return parser.parse_args()


def run_load(options, postgres):
    """All rounds. In each, every endpoint runs each setting before the next setting begins."""
    runs = []
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(make(name, options, postgres)) for name in options.endpoints]
        for endpoint in running:
            for mode in options.modes:
                measure.load(postgres, endpoint, mode, max(options.clients), WARM_UP_SECONDS)
        for number in range(options.rounds):
            for mode in options.modes:
                # A big result has one reader.
                for clients in options.clients if mode not in measure.BIG_RESULTS else options.clients[:1]:
                    # Nobody runs always first or always behind the same one.
                    shift = number % len(running)
                    for endpoint in running[shift:] + running[:shift]:
                        measured = measure.load(postgres, endpoint, mode, clients, options.seconds)
                        names = {"round": number, "mode": mode, "clients": clients, "endpoint": endpoint.name}
                        runs.append(names | measured)
            print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr, flush=True)
    return runs


def make(name, options, postgres):
    """An endpoint, not started."""
    return endpoints.make(name, postgres, options.pgtally, options.floor)


def proxies(options):
    """Names of endpoints with a process of their own."""
    return [name for name in options.endpoints if name != "direct"]


def run_system_calls(options, postgres):
    """System calls of each proxy for each number of clients."""
    counted = []
    for name in proxies(options):
        with make(name, options, postgres) as endpoint:
            for clients in options.clients:
                calls = measure.system_calls(postgres, endpoint, clients)
                counted.append({"endpoint": name, "clients": clients, "calls": calls})
    return counted


def run_instructions(options, postgres):
    """User-space instructions per query of each proxy in each mode."""
    return [
        {
            "endpoint": name,
            "mode": mode,
            "instructions": measure.user_instructions(postgres, lambda: make(name, options, postgres), mode),
        }
        for name in proxies(options)
        for mode in options.modes
    ]


def run_idle(options, postgres):
    """Memory of idle sessions of each proxy, in a fresh process."""
    measured = {}
    for name in proxies(options):
        with make(name, options, postgres) as endpoint:
            measured[name] = measure.idle_sessions(endpoint, options.idle)
    return measured


def version(*command):
    """First line that a program says about its version."""
    with contextlib.suppress(OSError, StartError):
        program = endpoints.program(command[0]) if os.sep not in command[0] else command[0]
        said = subprocess.run([program, *command[1:]], capture_output=True, text=True).stdout
        return said.partition("\n")[0]
    return None


def versions(options, postgres):
    """What was measured."""
    commands = {
        "pgtally": (str(options.pgtally), "--version"), "commit": ("git", "rev-parse", "--short", "HEAD"),
        "pgbouncer": ("pgbouncer", "--version"), "haproxy": ("haproxy", "-v"),
        "postgresql": (str(postgres.binaries / "postgres"), "--version"),
    }
    return {name: version(*command) for name, command in commands.items()}


def write(results, directory):
    """Writes raw results and tables; returns their path without an ending."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = time.strftime("load-%H%M%S")
    (directory / f"{stem}.json").write_text(json.dumps(results, indent=1) + "\n")
    tables = report.tables(results)
    (directory / f"{stem}.md").write_text(heading(results) + tables)
    print(tables)
    return directory / stem


def heading(results):
    """Conditions, in front of the tables."""
    described, built = results["machine"], results["versions"]
    options = results["options"]
    return (
        f"# pgbench -S through pgtally and its peers\n\n"
        f"{described['cpu']}, {described['cores']} cores, {described['memory_gib']} GiB, Linux {described['kernel']}; "
        f"{built['postgresql']}, {built['pgbouncer']}, {built['haproxy']}, pgtally at commit {built['commit']}. "
        f"{options['rounds']} interleaved rounds of {options['seconds']} s per run, everything on one core.\n\n"
    )


def too_many_calls(results, limit):
    """Whether pgtally needs more system calls per query at 1 client than allowed."""
    for entry in results["system_calls"]:
        if entry["endpoint"] == "pgtally" and entry["clients"] == 1 and sum(entry["calls"].values()) > limit:
            print(f"pgtally needs more than {limit} system calls per query at 1 client", file=sys.stderr)
            return True
    return False


def main():
    """Measures what was asked for; returns the exit code."""
    options = arguments()
    if options.core >= 0:
        os.sched_setaffinity(0, {options.core})
    kept = {name: value for name, value in vars(options).items() if name not in ("pgtally", "floor", "results")}
    results = {"machine": machine.description(), "options": kept, "runs": []}
    results |= {"system_calls": [], "instructions": [], "idle": {}}
    with Postgres(options.scale, max([600, *(count + 100 for count in options.idle)])) as postgres:
        results["versions"] = versions(options, postgres)
        if options.rounds:
            results["runs"] = run_load(options, postgres)
        if options.system_calls:
            results["system_calls"] = run_system_calls(options, postgres)
        if options.instructions:
            results["instructions"] = run_instructions(options, postgres)
        if options.idle:
            results["idle"] = run_idle(options, postgres)
    print(f"raw results: {os.path.relpath(write(results, options.results))}.json")
    return 1 if options.calls_max and too_many_calls(results, options.calls_max) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartError as error:
        sys.exit(f"benches/load: {error}")
