"""The cache of tagged reads: what it saves, and why the rest was not served from it."""

from .panels import board, graph, number, percentiles, row

NAME = "cache"


def dashboard():
    """The dashboard."""
    return (
        board(NAME, "cache", "What the cache of tagged reads saves, and why other reads were not served from it.")
        .with_panel(number(
            "Hit ratio", "Share of the look-ups that were answered from the cache.", "percentunit",
            'sum(rate(pgtally_cache_lookups_total{@, result="hit"}[$__rate_interval]))'
            ' / (sum(rate(pgtally_cache_lookups_total{@, result=~"hit|miss"}[$__rate_interval])) > 0)',
            ((None, "red"), (0.5, "orange"), (0.8, "green")), decimals=1))
        .with_panel(number(
            "Queries saved", "Answers from the cache per second.", "ops",
            'sum(rate(pgtally_cache_lookups_total{@, result="hit"}[$__rate_interval]))'))
        .with_panel(number(
            "Memory", "Bytes that entries take.", "bytes", "sum(pgtally_cache_bytes{@})"))
        .with_panel(number(
            "Filled", "Bytes that entries take, as a share of what the cache may take.", "percentunit",
            "sum(pgtally_cache_bytes{@}) / (sum(pgtally_cache_capacity_bytes{@}) > 0)"))
        .with_panel(number("Entries", "Results in the cache.", "short", "sum(pgtally_cache_entries{@})"))
        .with_panel(number(
            "Bypasses", "Reads per second that the cache could not serve, for the reasons below.", "ops",
            "sum(rate(pgtally_cache_bypass_total{@}[$__rate_interval]))"))
        .with_row(row("Look-ups"))
        .with_panel(graph(
            "By result", "Look-ups per second.", "ops",
            [("sum by (result) (rate(pgtally_cache_lookups_total{@}[$__rate_interval]))", "{{result}}")],
            is_stacked=True))
        .with_panel(graph(
            "Hit ratio by tag", "Share of each tag's look-ups that were answered from the cache.", "percentunit",
            [('sum by (tag) (rate(pgtally_cache_lookups_total{@, result="hit"}[$__rate_interval]))'
              ' / (sum by (tag) (rate(pgtally_cache_lookups_total{@, result=~"hit|miss"}[$__rate_interval])) > 0)',
              "{{tag}}")]))
        .with_panel(graph(
            "Why not", "Reads per second that the cache could not serve, by reason.", "ops",
            [("sum by (reason) (rate(pgtally_cache_bypass_total{@}[$__rate_interval]))", "{{reason}}")],
            is_stacked=True))
        .with_panel(graph(
            "Saved by tag", "Seconds per second that PostgreSQL would have taken for the answers from the cache.", "s",
            [("sum by (tag) (rate(pgtally_cache_saved_seconds_total{@}[$__rate_interval]))", "{{tag}}")],
            is_stacked=True))
        .with_panel(graph(
            "Hints refused", "Words of cache hints per second that meant nothing or asked for more than is allowed.",
            "ops", [("sum(rate(pgtally_cache_hints_refused_total{@}[$__rate_interval]))", "refused")]))
        .with_panel(graph(
            "Duration of cached answers", "Percentiles of answers from the cache.", "s",
            percentiles("pgtally_query_duration_seconds", 'source="cache"')))
        .with_row(row("Entries"))
        .with_panel(graph(
            "Fills", "Results that came from PostgreSQL per second, by what became of them.", "ops",
            [("sum by (result) (rate(pgtally_cache_fills_total{@}[$__rate_interval]))", "{{result}}")],
            width=8, is_stacked=True))
        .with_panel(graph(
            "Invalidations", "Entries dropped per second because their tables or tags changed.", "ops",
            [("sum by (cause) (rate(pgtally_cache_invalidations_total{@}[$__rate_interval]))", "{{cause}}")],
            width=8, is_stacked=True))
        .with_panel(graph(
            "Evictions", "Entries dropped per second for room or age.", "ops",
            [("sum by (cause) (rate(pgtally_cache_evictions_total{@}[$__rate_interval]))", "{{cause}}")],
            width=8, is_stacked=True))
    )
