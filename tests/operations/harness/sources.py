"""Where expressions stand: panels and annotations of the dashboards, rules of Prometheus."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
GRAFANA = ROOT / "grafana"
RULES = [GRAFANA / "alerts" / "recording.yaml", GRAFANA / "alerts" / "alerts.yaml"]


@dataclass
class Place:
    """An expression and where it stands."""

    where: str
    expression: str


def dashboards():
    """All dashboards by file name."""
    return {path.name: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def panels(board):
    """The panels that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def panel_places():
    """Every query of every panel and annotation."""
    for name, board in dashboards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield Place(f"{name}: {panel['title']} ({target['refId']})", target["expr"])
        for annotation in board["annotations"]["list"]:
            if "expr" in annotation:
                yield Place(f"{name}: annotation {annotation['name']}", annotation["expr"])


def rules():
    """Every rule of every file."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def rule_places():
    """Every rule's expression."""
    for rule in rules():
        yield Place(rule.get("alert") or rule["record"], rule["expr"])


def recorded():
    """Names that recording rules make."""
    return {rule["record"] for rule in rules() if "record" in rule}
