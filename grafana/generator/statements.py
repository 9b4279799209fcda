"""Statements by shape: which cost the most, and how one of them behaves."""

from .panels import board, buckets, graph, label_variable, percentiles, row, rows

NAME = "statements"
CHOSEN = 'fingerprint=~"$fingerprint"'
LINKS = [("In this dashboard", "/d/pgtally-statements?var-fingerprint=${__value.text}&${__url_time_range}")]


def top(title, description, unit, family, others):
    """A table of the fifteen fingerprints with the most of `family`, with `others` beside it."""
    def column(name):
        return f"sum by (fingerprint) (increase(pgtally_statement_{name}_total{{@}}[$__range]))"

    columns = [(title, unit, f"topk(15, {column(family)} > 0)")]
    for other_title, other_unit, expression in others:
        columns.append((other_title, other_unit, expression.replace("CALLS", column("calls"))
                        .replace("SECONDS", column("seconds")).replace("ROWS", column("rows"))
                        + f" and on (fingerprint) topk(15, {column(family)} > 0)"))
    return rows(title, description, columns, "fingerprint", width=8, height=11, links=LINKS)


def dashboard():
    """The dashboard."""
    fingerprint = label_variable(
        "fingerprint", "Fingerprint", 'pgtally_statement_calls_total{job=~"$job"}, fingerprint')
    mean = ("Mean", "s", "SECONDS / (CALLS > 0)")
    return (
        board(NAME, "statements",
              "Which shapes of statements cost the most. Texts are never labels: pgtally's page shows them.",
              fingerprint)
        .with_panel(top("By time", "Where the database's time goes, over the chosen time.", "s", "seconds",
                        [("Calls", "short", "CALLS"), mean]))
        .with_panel(top("By calls", "What runs most often.", "short", "calls",
                        [("Rows per call", "short", "ROWS / (CALLS > 0)"), mean]))
        .with_panel(top("By rows", "What returns or changes the most rows.", "short", "rows",
                        [("Calls", "short", "CALLS"), ("Rows per call", "short", "ROWS / (CALLS > 0)")]))
        .with_row(row("The chosen fingerprints"))
        .with_panel(graph(
            "Calls", "Executions per second.", "ops",
            [(f"sum by (fingerprint) (rate(pgtally_statement_calls_total{{@, {CHOSEN}}}[$__rate_interval]))",
              "{{fingerprint}}")]))
        .with_panel(graph(
            "Mean duration", "From sending to completion.", "s",
            [(f"sum by (fingerprint) (rate(pgtally_statement_seconds_total{{@, {CHOSEN}}}[$__rate_interval]))"
              f" / (sum by (fingerprint) (rate(pgtally_statement_calls_total{{@, {CHOSEN}}}[$__rate_interval])) > 0)",
              "{{fingerprint}}")], thresholds=((None, "transparent"), (0.05, "orange"), (0.1, "red"))))
        .with_panel(graph(
            "Rows per call", "Returned or affected.", "short",
            [(f"sum by (fingerprint) (rate(pgtally_statement_rows_total{{@, {CHOSEN}}}[$__rate_interval]))"
              f" / (sum by (fingerprint) (rate(pgtally_statement_calls_total{{@, {CHOSEN}}}[$__rate_interval])) > 0)",
              "{{fingerprint}}")]))
        .with_panel(graph(
            "Errors", "Executions per second that failed.", "ops",
            [(f"sum by (fingerprint) (rate(pgtally_statement_errors_total{{@, {CHOSEN}}}[$__rate_interval]))",
              "{{fingerprint}}")]))
        .with_row(row("All statements"))
        .with_panel(buckets(
            "Duration", "Finished statements by duration.", "s",
            "sum by (le) (increase(pgtally_query_duration_seconds_bucket{@}[$__rate_interval]))", width=8))
        .with_panel(graph(
            "Duration", "Percentiles over all kinds.", "s", percentiles("pgtally_query_duration_seconds"), width=8))
        .with_panel(graph(
            "Time by kind", "Seconds of statement time per second.", "short",
            [("sum by (kind) (rate(pgtally_query_duration_seconds_sum{@}[$__rate_interval]))", "{{kind}}")],
            width=8, is_stacked=True))
        .with_panel(graph(
            "Rows", "Returned or affected, per second.", "rowsps",
            [("sum(rate(pgtally_rows_total{@}[$__rate_interval]))", "rows")], width=8))
        .with_panel(graph(
            "By database", "Finished statements per second.", "ops",
            [("sum by (database) (rate(pgtally_queries_total{@}[$__rate_interval]))", "{{database}}")],
            width=8, is_stacked=True))
        .with_panel(graph(
            "Share without a slot of its own",
            "Executions of shapes beyond the 100 that have series of their own, as a share of all.", "percentunit",
            [('sum(rate(pgtally_statement_calls_total{@, fingerprint="other"}[$__rate_interval]))'
              " / (sum(rate(pgtally_statement_calls_total{@}[$__rate_interval])) > 0)", "other")], width=8))
    )
