#!/usr/bin/env python3
"""CPU per query of two proxies under the same load, at the same time, on the same core.

What else the machine does, and how fast it just is, hits both alike, so ratios differ far less from round to round than
those of runs in turns. Throughput says nothing here: two loads share one core. A pair is `BASE:OTHER`, its figure the CPU
per query of OTHER as a multiple of BASE's; the median and range over the rounds.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import endpoints
import machine
import measure
from postgres import Postgres, StartError

RESULTS = Path(__file__).resolve().parent.parent / "results"
PAIRS = "pgtally-off:pgtally,pgbouncer:pgtally,haproxy:pgtally,pgbouncer:haproxy,pgbouncer:floor,pgtally:pgtally-cache"


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pgtally", type=lambda text: Path(text).resolve(), required=True, help="the release binary")
    parser.add_argument("--floor", type=lambda text: Path(text).resolve(), required=True, help="the bare relay")
    parser.add_argument("--pairs", default=PAIRS, help=f"of {', '.join(endpoints.NAMES)}; default: {PAIRS}")
    parser.add_argument("--modes", default="simple,extended,prepared", help="default: simple,extended,prepared")
    parser.add_argument("--clients", type=int, default=32, help="of each of the two; default: 32")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=8, help="of one run; default: 8")
    parser.add_argument("--core", type=int, default=0, help="core to run on; default: 0")
    parser.add_argument("--results", type=Path, default=RESULTS / time.strftime("%Y-%m-%d"), help="directory to write to")
    return parser.parse_args()


def load_both(postgres, pair, mode, options):
    """What both did, loaded at the same time."""
    with ThreadPoolExecutor(len(pair)) as pool:
        runs = [pool.submit(measure.load, postgres, one, mode, options.clients, options.seconds) for one in pair]
        return [run.result() for run in runs]


def measure_all(postgres, options, pairs, modes):
    """Every round's figures by pair and mode."""
    figures = []
    with contextlib.ExitStack() as stack:
        names = dict.fromkeys(name for pair in pairs for name in pair)
        make = endpoints.make
        running = {n: stack.enter_context(make(n, postgres, options.pgtally, options.floor)) for n in names}
        for number in range(options.rounds):
            for mode in modes:
                for base, other in pairs:
                    both = load_both(postgres, (running[base], running[other]), mode, options)
                    figures.append({"round": number, "mode": mode, "base": base, "other": other, "measured": both})
            print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr, flush=True)
    return figures


def table(figures, pairs, modes):
    """Medians and ranges as Markdown."""
    lines = ["| CPU per query of | as a multiple of | " + " | ".join(modes) + " |", "|---|---|" + "---|" * len(modes)]
    for base, other in pairs:
        cells = []
        for mode in modes:
            of_pair = [it for it in figures if (it["base"], it["other"], it["mode"]) == (base, other, mode)]
            ratios = [it["measured"][1]["cpu_us"] / it["measured"][0]["cpu_us"] for it in of_pair]
            cells.append(f"{statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})")
        lines.append(f"| {other} | {base} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    """Measures and writes results."""
    options = arguments()
    os.sched_setaffinity(0, {options.core})
    pairs, modes = [tuple(pair.split(":")) for pair in options.pairs.split(",")], options.modes.split(",")
    # Both have their own sessions.
    with Postgres(20, max(600, 2 * options.clients + 100)) as postgres:
        figures = measure_all(postgres, options, pairs, modes)
    conditions = (
        f"{options.rounds} rounds of {options.seconds} s, {options.clients} clients at each of the two, everything on "
        f"one core of {machine.description()['cpu']}.\n\n"
    )
    shown = table(figures, pairs, modes)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / time.strftime("pairs-%H%M%S")
    path.with_suffix(".json").write_text(json.dumps({"machine": machine.description(), "runs": figures}, indent=1) + "\n")
    path.with_suffix(".md").write_text("# Two proxies at the same time\n\n" + conditions + shown)
    print(shown)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartError as error:
        sys.exit(f"benches/load: {error}")
