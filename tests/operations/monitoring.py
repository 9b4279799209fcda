#!/usr/bin/env python3
"""Checks what Grafana, Prometheus and Alertmanager import, and runs it against a real pgtally.

First everything that needs no process: dashboards are what the code makes, every expression can be read, rules pass
their tests. Then `pgtally demo` runs under load, a real Prometheus scrapes it, every name and label in every
expression is looked up in what the binary really exposes, every panel has to return data, and an alert has to reach
a real Alertmanager. `pgtally doctor` has its say about what runs.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import doctor, sources, static
from harness.check import Check, Tally
from harness.expressions import selectors, shortened, without_variables
from harness.exposition import Exposition
from harness.live import Alertmanager, Demo, LiveError, Load, Prometheus, Receiver, edge, gate
from harness.tools import ToolMissing, Tools

# Rates need two scrapes of every series, and a busy machine needs its time. It ends as soon as everything has data.
DATA_SECONDS = 90
ALERT_SECONDS = 20
ALERT = "PgtallyNewNPlusOne"


def family(name):
    """Name of the family that a series of a histogram belongs to."""
    for ending in ("_bucket", "_count", "_sum"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def name_problems(places, exposition):
    """Names and labels that the binary does not expose."""
    recorded = sources.recorded()
    for place in places:
        for selector in selectors(without_variables(place.expression)):
            if selector.name in recorded:
                continue
            if not exposition.has(selector.name):
                yield f"{place.where}: nobody exposes {selector.name}"
            elif exposition.lacking(selector):
                yield f"{place.where}: {selector.name} has no label {sorted(exposition.lacking(selector))}"


def unused(exposition):
    """Families of ours that no panel and no rule shows."""
    used = set()
    for place in [*sources.panel_places(), *sources.rule_places()]:
        used |= {family(selector.name) for selector in selectors(without_variables(place.expression))}
    ours = {name for name in exposition.families if name.startswith("pgtally_")}
    return sorted(ours - used)


def no_data(prometheus, places):
    """Places whose expression returns nothing at present; raises ValueError on what Prometheus refuses."""
    empty = []
    for place in places:
        values = prometheus.query(shortened(without_variables(place.expression)))
        if not any(math.isfinite(value) for value in values):
            empty.append(place)
    return empty


def data_checks(prometheus, targets, exposition, tally):
    """Every panel and every recording rule returns data."""
    recorded = [place for place in sources.rule_places() if place.where in sources.recorded()]
    # Restarts of pgtally are what an annotation waits for, and there must be none.
    waiting = [place for place in sources.panel_places() if "annotation" not in place.where]
    count = len(waiting)
    waiting += [sources.Place(place.where, place.where) for place in recorded]
    deadline = time.monotonic() + DATA_SECONDS
    while waiting and time.monotonic() < deadline:
        time.sleep(1)
        for target in targets:
            exposition.add(target.metrics())
        waiting = no_data(prometheus, waiting)
    detail = [f"{place.where}: {place.expression}" for place in waiting]
    tally.add(Check(
        f"{count} queries of panels and {len(recorded)} recording rules return data", not waiting, detail))


def exposition_checks(tools, targets, exposition):
    """What is exposed is well named, all of it is shown, and nothing else is asked for."""
    for target in targets:
        text = target.metrics()
        exposition.add(text)
        lint = subprocess.run([tools.promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        problems = (lint.stdout + lint.stderr).strip()
        yield Check(f"promtool check metrics ({target.name})", lint.returncode == 0 and not problems, problems)
    for kind, places in (("panels", sources.panel_places()), ("rules", sources.rule_places())):
        places = list(places)
        found = list(name_problems(places, exposition))
        yield Check(f"names and labels of {len(places)} expressions of {kind} exist", not found, found)
    yield Check("every family has a panel or a rule", not unused(exposition), unused(exposition))


def alert_check(receiver):
    """The alert that the demo's planted faults deserve arrives, on the way that its severity takes."""
    deadline = time.monotonic() + ALERT_SECONDS
    while time.monotonic() < deadline:
        for path, alert in receiver.received:
            if alert["labels"]["alertname"] == ALERT and path == "/tickets":
                summary = alert["annotations"]["summary"]
                return Check(f"Alertmanager delivered {ALERT}", "new N+1" in summary, summary)
        time.sleep(0.2)
    return Check(f"Alertmanager delivered {ALERT}", False, [str(received) for received in receiver.received])


def live(arguments, tools, tally):
    """Everything that needs processes."""
    with tempfile.TemporaryDirectory(prefix="pgtally-monitoring-") as name:
        folder = Path(name)
        exposition = Exposition()
        with (
            Receiver() as receiver,
            Demo(arguments.pgtally, folder) as demo,
            edge(arguments.pgtally, folder, demo) as second,
            gate(arguments.pgtally, folder, demo) as third,
            Load(demo, second.port, third.port) as load,
            Alertmanager(tools, folder, receiver) as alertmanager,
            Prometheus(tools, folder, [demo, second, third], alertmanager) as prometheus,
        ):
            targets = [demo, second, third]
            data_checks(prometheus, targets, exposition, tally)
            for check in exposition_checks(tools, targets, exposition):
                tally.add(check)
            tally.add(alert_check(receiver))
            for check in doctor.checks(arguments.pgtally, demo):
                tally.add(check)
        tally.add(Check("the load ran without trouble", not load.problems, load.problems))


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=Path, help="the binary; without it, only what needs no process is checked")
    arguments = parser.parse_args()
    if arguments.pgtally:
        arguments.pgtally = arguments.pgtally.resolve()
    tally = Tally()
    try:
        tools = Tools.find()
        for check in static.checks(tools):
            tally.add(check)
        if arguments.pgtally:
            live(arguments, tools, tally)
    except (LiveError, ToolMissing, OSError) as error:
        tally.add(Check("environment", False, str(error)))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
