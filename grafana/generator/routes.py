"""One route, or some: what its requests do to the database, now and before."""

from .panels import (
    OFFSET_WEEK, board, buckets, graph, label_variable, link, number, percentiles, quantile, row,
)

NAME = "routes"
CHOSEN = 'route=~"$route"'
MEAN = (
    f"sum by (route) (rate(pgtally_queries_per_request_sum{{@, NAMED,{CHOSEN}}}[$__rate_interval]))"
    f" / (sum by (route) (rate(pgtally_queries_per_request_count{{@, NAMED,{CHOSEN}}}[$__rate_interval])) > 0)"
)
MEAN_WEEK_AGO = (
    f"sum by (route) (rate(pgtally_queries_per_request_sum{{@, NAMED,{CHOSEN}}}[$__rate_interval] {OFFSET_WEEK}))"
    f" / (sum by (route) (rate(pgtally_queries_per_request_count{{@, NAMED,{CHOSEN}}}[$__rate_interval] {OFFSET_WEEK}))"
    " > 0)"
)


def dashboard():
    """The dashboard."""
    route = label_variable("route", "Route", 'pgtally_requests_total{job=~"$job"}, route')
    requests = link("Requests in pgtally", "${pgtally_url}/api/v1/requests?route=${__field.labels.route}")
    traces = link("Traces", "${traces_url}/search?tags=%7B%22http.route%22%3A%22${__field.labels.route}%22%7D")
    return (
        board(NAME, "routes", "What the requests of a route do to the database, now and before.", route)
        .with_panel(number(
            "Requests", "Named requests of the chosen routes per second.", "reqps",
            f"sum(rate(pgtally_requests_total{{@, NAMED,{CHOSEN}}}[$__rate_interval]))"))
        .with_panel(number(
            "Queries per request", "Mean over the named requests.", "short",
            f"sum(rate(pgtally_queries_per_request_sum{{@, NAMED,{CHOSEN}}}[$__rate_interval]))"
            f" / (sum(rate(pgtally_queries_per_request_count{{@, NAMED,{CHOSEN}}}[$__rate_interval])) > 0)",
            ((None, "green"), (30, "orange"), (50, "red")), decimals=1))
        .with_panel(number(
            "Times the baseline", "The worst of the chosen routes against the baseline that pgtally keeps.", "short",
            f"max(pgtally_route_regression_ratio{{@, {CHOSEN}}})",
            ((None, "green"), (1.5, "orange"), (3, "red")), decimals=2))
        .with_panel(number(
            "Database time, p95", "Summed time of a request's statements.", "s",
            quantile(0.95, "pgtally_request_db_seconds", CHOSEN)))
        .with_panel(number(
            "Similar queries, p95", "Executions of the most repeated statement of a request.", "short",
            quantile(0.95, "pgtally_request_similar_queries_max", CHOSEN),
            ((None, "green"), (5, "orange"), (10, "red")), decimals=1))
        .with_panel(number(
            "Duplicates per second", "Statements that repeat one of the same request with equal parameters.", "ops",
            f"sum(rate(pgtally_duplicate_queries_total{{@, {CHOSEN}}}[$__rate_interval]))"))
        .with_row(row("Queries per request"))
        .with_panel(graph(
            "Queries per request", "Mean over named requests.", "short", [(MEAN, "{{route}}")],
            links=(requests, traces)))
        .with_panel(graph(
            "A week ago", "The same, a week earlier: an independent look at what is usual.", "short",
            [(MEAN_WEEK_AGO, "{{route}}, a week ago")], links=(requests,)))
        .with_panel(buckets(
            "How many requests issue how many queries", "Named requests of the chosen routes.", "short",
            f"sum by (le) (increase(pgtally_queries_per_request_bucket{{@, NAMED,{CHOSEN}}}[$__rate_interval]))"))
        .with_panel(graph(
            "Baseline", "What pgtally has learned as usual, in queries per request.", "short",
            [(f"max by (route) (pgtally_route_baseline_queries{{@, {CHOSEN}}})", "{{route}}, baseline")]))
        .with_row(row("Repetition"))
        .with_panel(buckets(
            "Executions of the most repeated statement", "Five or more by keys of an earlier result are an N+1.",
            "short",
            f"sum by (le) (increase(pgtally_request_similar_queries_max_bucket{{@, {CHOSEN}}}[$__rate_interval]))"))
        .with_panel(graph(
            "Duplicates", "Statements per second that repeat one of the same request with equal parameters.", "ops",
            [(f"sum by (route) (rate(pgtally_duplicate_queries_total{{@, {CHOSEN}}}[$__rate_interval]))",
              "{{route}}")], links=(requests, traces)))
        .with_row(row("Time"))
        .with_panel(graph(
            "Database time of a request", "Summed time of its statements.", "s",
            percentiles("pgtally_request_db_seconds", CHOSEN), width=8))
        .with_panel(graph(
            "Duration of a request", "From its first statement to its last answer, as seen on the wire.", "s",
            percentiles("pgtally_request_duration_seconds", CHOSEN), width=8))
        .with_panel(graph(
            "Slow statements", "Statements per second over the bound for slow statements.", "ops",
            [(f"sum by (route) (rate(pgtally_slow_queries_total{{@, {CHOSEN}}}[$__rate_interval]))", "{{route}}")],
            width=8, links=(requests, traces)))
        .with_panel(graph(
            "Requests and units", "Per second, by how they were recognised.", "reqps",
            [(f"sum by (attribution) (rate(pgtally_requests_total{{@, {CHOSEN}}}[$__rate_interval]))",
              "{{attribution}}")], is_stacked=True))
        .with_panel(graph(
            "Share of the database's time", "Which of the chosen routes keeps connections busy.", "percentunit",
            [(f"sum by (route) (rate(pgtally_request_db_seconds_sum{{@, {CHOSEN}}}[$__rate_interval]))"
              " / ignoring (route) group_left () (sum(rate(pgtally_request_db_seconds_sum{@}[$__rate_interval])) > 0)",
              "{{route}}")], is_stacked=True, links=(requests,)))
    )
