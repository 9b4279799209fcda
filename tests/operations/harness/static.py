"""Checks of dashboards, rules and their tests that need no running pgtally."""

import re
import subprocess
import sys

import yaml

from . import sources
from .check import Check
from .expressions import selectors, without_variables

WIDTH = 24
# A rate over a fixed range hides short intervals and breaks on long ones. These mean a span of time, not a rate.
FIXED_RANGES = {"[1h]"}


def checks(tools):
    """All of them."""
    yield generated()
    yield from lint()
    yield from parsed()
    yield from rule_files(tools)
    yield every_alert_has_both_cases()
    yield provisioning()


def run(name, *command, cwd=None):
    """A check that is a program's success."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return Check(name, done.returncode == 0, (done.stdout + done.stderr)[-2000:])


def generated():
    """The committed dashboards are what the code makes."""
    return run("dashboards are what the code makes", sys.executable, "-B", sources.GRAFANA / "generate.py", "--check")


def lint():
    """What makes a dashboard fit for strangers: the useful rules of Grafana's own linter, and ours."""
    uids = set()
    for name, board in sources.dashboards().items():
        problems = [] if board["uid"] not in uids else ["its uid is taken"]
        uids.add(board["uid"])
        names = [variable["name"] for variable in board["templating"]["list"]]
        problems += [f"no variable {wanted}" for wanted in ("datasource", "job", "instance") if wanted not in names]
        ids = [panel["id"] for panel in board["panels"]]
        problems += ["panels share an id"] if len(set(ids)) < len(ids) else []
        shown = sources.panels(board)
        for panel in shown:
            problems += [f"{panel['title']}: {problem}" for problem in panel_problems(panel)]
        problems += overlaps(board["panels"])
        yield Check(f"{name}: {len(shown)} panels have unit, description and data source", not problems, problems)


def panel_problems(panel):
    """What is wrong with one panel."""
    if len(panel.get("description", "")) < 10:
        yield "no description"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "no unit"
    if not panel.get("targets"):
        yield "no query"
    for target in panel.get("targets", []):
        if target["datasource"]["uid"] != "${datasource}":
            yield "a fixed data source"
        ranges = set(re.findall(r"\[[^\]]*\]", target["expr"]))
        if ranges - FIXED_RANGES - {"[$__rate_interval]", "[$__range]"}:
            yield f"a fixed range in {target['expr']}"
        if target["expr"].count("{") != target["expr"].count('job=~"$job",instance=~"$instance"'):
            yield f"series of jobs that were not chosen in {target['expr']}"


def overlaps(panels):
    """Panels that lie over each other or beyond the edge."""
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > WIDTH:
            yield f"{panel['title']}: too wide"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if taken.setdefault((x, y), panel["title"]) != panel["title"]:
                    yield f"{panel['title']} lies over {taken[x, y]}"
                    return


def parsed():
    """Every expression can be read, and mixes no requests with units."""
    for kind, places in (("panels", sources.panel_places()), ("rules", sources.rule_places())):
        problems = []
        count = 0
        for place in places:
            count += 1
            try:
                found = selectors(without_variables(place.expression))
                problems += [f"{place.where}: {problem}" for problem in mixed_levels(found)]
            except ValueError as error:
                problems.append(f"{place.where}: {error}")
        yield Check(f"{count} expressions of {kind} can be read", not problems, problems)


def mixed_levels(found):
    """Selectors of families with an attribution that take requests and units together, without showing which."""
    for selector in found:
        if selector.name.startswith(("pgtally_queries_per_request", "pgtally_requests_total")):
            if "attribution" not in selector.labels:
                yield f"{selector.name} mixes requests and units"


def rule_files(tools):
    """Prometheus's and Alertmanager's own checks, and the rules' tests."""
    yield run("promtool check rules", tools.promtool, "check", "rules", *sources.RULES)
    yield run("promtool check config", tools.promtool, "check", "config", sources.GRAFANA / "prometheus.yaml")
    yield run("amtool check-config", tools.amtool, "check-config", sources.GRAFANA / "alertmanager.yaml")
    for path in rule_tests():
        yield run(f"promtool test rules {path.name}", tools.promtool, "test", "rules", path.name, cwd=path.parent)


def rule_tests():
    """Files of tests of rules."""
    return sorted((sources.GRAFANA / "alerts" / "tests").glob("*.yaml"))


def every_alert_has_both_cases():
    """No alert without a case in which it fires and one in which it is silent."""
    fires, silent = set(), set()
    for path in rule_tests():
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
    alerts = {rule["alert"] for rule in sources.rules() if "alert" in rule}
    problems = [f"never fires: {sorted(alerts - fires)}"] if alerts - fires else []
    problems += [f"never silent: {sorted(alerts - silent)}"] if alerts - silent else []
    problems += [f"no such alert: {sorted((fires | silent) - alerts)}"] if (fires | silent) - alerts else []
    for rule in sources.rules():
        if "alert" in rule and not {"summary", "description", "dashboard"} <= set(rule.get("annotations", {})):
            problems.append(f"{rule['alert']} lacks an annotation")
    return Check(f"{len(alerts)} alerts have a firing and a silent case", not problems, problems)


def provisioning():
    """Grafana's provisioning files can be read, and alerts lead to dashboards that exist."""
    problems = []
    for path in (sources.GRAFANA / "provisioning").rglob("*.yaml"):
        if yaml.safe_load(path.read_text()).get("apiVersion") != 1:
            problems.append(f"{path.name}: no apiVersion 1")
    uids = {board["uid"] for board in sources.dashboards().values()}
    for rule in sources.rules():
        target = rule.get("annotations", {}).get("dashboard", "/d/pgtally-health").split("/d/")[1].split("?")[0]
        if target not in uids:
            problems.append(f"{rule['alert']}: no dashboard {target}")
    return Check("provisioning files and links to dashboards", not problems, problems)
