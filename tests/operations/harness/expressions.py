"""What a PromQL expression asks for: metric names, label matchers, labels it groups by."""

import re
from dataclasses import dataclass, field

import promql_parser

# Grafana's variables, as the tests fill them; ranges are short because the tests are.
VARIABLES = {
    "$__rate_interval": "8s",
    "$__range": "40s",
    "$job": ".+",
    "$instance": ".+",
    "$route": ".+",
    "$fingerprint": ".+",
}


def without_variables(expression):
    """The expression as Grafana would send it."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def shortened(expression):
    """The expression for a Prometheus that has run for seconds: what looks back further would find nothing."""
    expression = re.sub(r"offset \d+[mhdw]", "offset 2s", expression)
    return re.sub(r"\[(\d+)(m|d)\]", "[20s]", expression)


@dataclass
class Selector:
    """One metric as an expression selects it."""

    name: str
    matchers: list
    labels: set = field(default_factory=set)


def selectors(expression):
    """All selectors of an expression, each with the labels that are asked of it. Raises ValueError."""
    found = []
    _walk(promql_parser.parse(expression), set(), found)
    return found


def _walk(node, labels, found):
    if isinstance(node, promql_parser.VectorSelector):
        matchers = [(matcher.name, str(matcher.op), matcher.value) for matcher in node.matchers.matchers]
        found.append(Selector(node.name, matchers, labels | {name for name, _, _ in matchers}))
        return
    modifier = getattr(node, "modifier", None)
    if isinstance(node, promql_parser.BinaryExpr):
        matching = set(modifier.matching.labels) if modifier and modifier.matching else set()
        _walk(node.lhs, labels | matching, found)
        # A result's labels come from the left side; the right one only has to be found.
        _walk(node.rhs, matching or labels, found)
        return
    if isinstance(node, promql_parser.AggregateExpr):
        # Inside of an aggregation only its own labels count: those outside were made by it or are gone.
        labels = set(modifier.labels) if modifier else set()
    for name in ("expr", "args", "vector_selector", "param"):
        children = getattr(node, name, None)
        for child in children if isinstance(children, list) else [children]:
            if child is not None and not isinstance(child, (str, float)):
                _walk(child, labels, found)
