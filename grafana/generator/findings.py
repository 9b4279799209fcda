"""Findings: how many are open, what came when, and where repetition comes from."""

from .panels import board, buckets, graph, link, number, row, rows

NAME = "findings"


def dashboard():
    """The dashboard."""
    listed = link("Findings in pgtally", "${pgtally_url}/api/v1/findings")
    return (
        board(NAME, "findings", "N+1 patterns, duplicates and slow statements: what is open, and since when.")
        .with_panel(number(
            "New", "Findings nobody has looked at.", "short",
            'sum(pgtally_findings_open{@, state="new"}) or vector(0)', ((None, "green"), (1, "red")),
            links=(listed,)))
        .with_panel(number(
            "Known", "Findings that were there before.", "short",
            'sum(pgtally_findings_open{@, state="known"}) or vector(0)', links=(listed,)))
        .with_panel(number(
            "Acknowledged", "Findings that somebody has accepted for a time.", "short",
            'sum(pgtally_findings_open{@, state="acked"}) or vector(0)', links=(listed,)))
        .with_panel(number(
            "Critical", "Open findings that waste much: 100 ms, a third of the database's time, or 50 repeats.",
            "short", 'sum(pgtally_findings_open{@, severity="critical",state!="acked"}) or vector(0)',
            ((None, "green"), (1, "red")), links=(listed,)))
        .with_panel(number(
            "N+1", "Loops of single-row reads or writes that are open.", "short",
            'sum(pgtally_findings_open{@, kind=~"n_plus_one.*",state!="acked"}) or vector(0)',
            ((None, "green"), (1, "orange")), links=(listed,)))
        .with_panel(number(
            "Requests with a finding", "Occurrences of findings per second: one per request and finding.", "ops",
            "sum(rate(pgtally_findings_total{@}[$__rate_interval])) or vector(0)"))
        .with_row(row("Open"))
        .with_panel(graph(
            "Open by kind", "Each problem once, with its state.", "short",
            [("sum by (kind, state) (pgtally_findings_open{@})", "{{kind}} ({{state}})")], is_stacked=True,
            links=(listed,)))
        .with_panel(rows(
            "Open now", "Each problem once. Statements, evidence and fixes are on pgtally's page.",
            [("Findings", "short", "sum by (kind, severity, state) (pgtally_findings_open{@}) > 0")],
            "kind", width=12, height=8, links=[("Findings in pgtally", "${pgtally_url}/api/v1/findings")]))
        .with_row(row("Occurrences"))
        .with_panel(graph(
            "By kind", "Requests with a finding, per second.", "ops",
            [("sum by (kind) (rate(pgtally_findings_total{@}[$__rate_interval]))", "{{kind}}")], is_stacked=True))
        .with_panel(graph(
            "By severity", "Requests with a finding, per second.", "ops",
            [("sum by (severity) (rate(pgtally_findings_total{@}[$__rate_interval]))", "{{severity}}")],
            is_stacked=True))
        .with_row(row("Where repetition comes from"))
        .with_panel(buckets(
            "Executions of the most repeated statement", "Of each request or unit.", "short",
            "sum by (le) (increase(pgtally_request_similar_queries_max_bucket{@}[$__rate_interval]))", width=8))
        .with_panel(graph(
            "Duplicates by route", "Statements per second that repeat one with equal parameters; the ten worst.",
            "ops", [("topk(10, sum by (route) (rate(pgtally_duplicate_queries_total{@}[$__rate_interval])))",
                     "{{route}}")], width=8))
        .with_panel(graph(
            "Slow statements by route", "Statements per second over the bound; the ten worst.", "ops",
            [("topk(10, sum by (route) (rate(pgtally_slow_queries_total{@}[$__rate_interval])))", "{{route}}")],
            width=8))
    )
