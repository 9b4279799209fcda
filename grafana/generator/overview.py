"""The first look: is anything wrong, and where."""

from .panels import board, buckets, graph, number, percentiles, quantile, row, rows

NAME = "overview"


def dashboard():
    """The dashboard."""
    return (
        board(NAME, "overview", "Is anything wrong between the application and PostgreSQL, and on which route?")
        .with_panel(number(
            "Requests", "Requests that the application named, per second; traffic without names is below.",
            "reqps", "sum(rate(pgtally_requests_total{@, NAMED}[$__rate_interval]))"))
        .with_panel(number(
            "Queries per request, p95", "95 of 100 named requests issue at most about this many queries.",
            "short", quantile(0.95, "pgtally_queries_per_request", "NAMED"),
            ((None, "green"), (30, "orange"), (50, "red")), decimals=1))
        .with_panel(number(
            "Busy in the database",
            "Seconds of statement time per second: how many connections are busy on average.",
            "short", "sum(rate(pgtally_request_db_seconds_sum{@}[$__rate_interval]))", decimals=2))
        .with_panel(number(
            "Slow statements", "Share of statements that took longer than the bound for slow statements.",
            "percentunit",
            "sum(rate(pgtally_slow_queries_total{@}[$__rate_interval]))"
            " / (sum(rate(pgtally_queries_total{@}[$__rate_interval])) > 0)",
            ((None, "green"), (0.01, "orange"), (0.05, "red")), decimals=2))
        .with_panel(number(
            "Findings nobody has looked at", "Problems known at present, each once, without those acknowledged.",
            "short", 'sum(pgtally_findings_open{@, state!="acked"}) or vector(0)', ((None, "green"), (1, "red"))))
        .with_panel(number(
            "Cache hits", "Share of the look-ups in the cache that were answered from it.",
            "percentunit",
            'sum(rate(pgtally_cache_lookups_total{@, result="hit"}[$__rate_interval]))'
            ' / (sum(rate(pgtally_cache_lookups_total{@, result=~"hit|miss"}[$__rate_interval])) > 0)',
            ((None, "red"), (0.5, "orange"), (0.8, "green")), decimals=1))
        .with_row(row("Queries per request"))
        .with_panel(buckets(
            "Queries per request", "How many requests issued how many queries. A new dark line above is a regression.",
            "short", "sum by (le) (increase(pgtally_queries_per_request_bucket{@, NAMED}[$__rate_interval]))"))
        .with_panel(graph(
            "Queries per request, the ten worst routes", "Mean over named requests.", "short",
            [("topk(10, sum by (route) (rate(pgtally_queries_per_request_sum{@, NAMED}[$__rate_interval]))"
              " / (sum by (route) (rate(pgtally_queries_per_request_count{@, NAMED}[$__rate_interval])) > 0))",
              "{{route}}")]))
        .with_panel(rows(
            "Routes",
            "Over the chosen time. Similar: executions of the most repeated statement of a request; five or more are"
            " worth a look.",
            [
                ("Requests", "short", "sum by (route) (increase(pgtally_requests_total{@, NAMED}[$__range])) > 0"),
                ("Queries per request", "short",
                 "sum by (route) (increase(pgtally_queries_per_request_sum{@, NAMED}[$__range]))"
                 " / (sum by (route) (increase(pgtally_queries_per_request_count{@, NAMED}[$__range])) > 0)"),
                ("Similar, p95", "short",
                 "histogram_quantile(0.95, sum by (route, le)"
                 " (increase(pgtally_request_similar_queries_max_bucket{@}[$__range])))"),
                ("Duplicates", "short", "sum by (route) (increase(pgtally_duplicate_queries_total{@}[$__range]))"),
                ("Slow", "short", "sum by (route) (increase(pgtally_slow_queries_total{@}[$__range]))"),
                ("Database time", "s", "sum by (route) (increase(pgtally_request_db_seconds_sum{@}[$__range]))"),
            ],
            "route", sort="Database time", width=14, links=[
                ("This route", "/d/pgtally-routes?var-route=${__value.text:percentencode}&${__url_time_range}"),
                ("Its requests in pgtally", "${pgtally_url}/api/v1/requests?route=${__value.text:percentencode}"),
            ]))
        .with_panel(rows(
            "Routes furthest above their baseline",
            "Queries per request now, compared with the baseline that pgtally keeps.",
            [("Times the baseline", "short", "topk(10, max by (route) (pgtally_route_regression_ratio{@}))")],
            "route", width=10))
        .with_row(row("Statements"))
        .with_panel(graph(
            "Statements by kind", "Finished statements per second.", "ops",
            [("sum by (kind) (rate(pgtally_queries_total{@}[$__rate_interval]))", "{{kind}}")],
            width=8, is_stacked=True))
        .with_panel(graph(
            "Duration of reads", "From sending a SELECT to its completion, as the client's side sees it.", "s",
            percentiles("pgtally_query_duration_seconds", 'kind="select"'), width=8,
            thresholds=((None, "transparent"), (0.05, "orange"), (0.1, "red"))))
        .with_panel(graph(
            "Errors by class", "Failed statements per second, by the first two characters of the SQLSTATE.", "ops",
            [("sum by (sqlstate_class) (rate(pgtally_query_errors_total{@}[$__rate_interval]))",
              "class {{sqlstate_class}}")], width=8, is_stacked=True))
        .with_row(row("Traffic without names"))
        .with_panel(graph(
            "Units by how they were recognised",
            "Work that the application did not name, cut into units at transactions, pauses and pool markers.", "ops",
            [("sum by (attribution) (rate(pgtally_requests_total{@, GUESSED}[$__rate_interval]))",
              "{{attribution}}")], is_stacked=True))
        .with_panel(graph(
            "Queries per unit", "Mean by route. Not comparable with queries per request.", "short",
            [("topk(10, sum by (route) (rate(pgtally_queries_per_request_sum{@, GUESSED}[$__rate_interval]))"
              " / (sum by (route) (rate(pgtally_queries_per_request_count{@, GUESSED}[$__rate_interval])) > 0))",
              "{{route}}")]))
    )
