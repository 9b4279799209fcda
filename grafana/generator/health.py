"""The proxy itself: does traffic pass, is everything observed, and what does it take."""

from .panels import board, graph, number, percentiles, quantile, row, rows

NAME = "health"


def dashboard():
    """The dashboard."""
    return (
        board(NAME, "proxy health", "Does traffic pass, is everything observed, and what does pgtally take?")
        .with_panel(number(
            "Upstream", "1 when every pgtally reached its PostgreSQL at the last attempt.", "short",
            "min(pgtally_upstream_up{@})", ((None, "red"), (1, "green"))))
        .with_panel(number("Sessions", "Client connections.", "short", "sum(pgtally_sessions{@})"))
        .with_panel(number(
            "Blind sessions", "Relayed, not observed; traffic is unaffected.", "short",
            'sum(pgtally_sessions{@, state="blind"}) or vector(0)', ((None, "green"), (1, "orange"))))
        .with_panel(number(
            "Dropped observations", "Given up per second because of a bound; traffic is unaffected.", "ops",
            "sum(rate(pgtally_observations_dropped_total{@}[$__rate_interval])) or vector(0)",
            ((None, "green"), (0.001, "orange"))))
        .with_panel(number(
            "Overhead, p99", "Time to read, look at and write a chunk, of one in 61; waiting for a turn is not in it.", "s",
            quantile(0.99, "pgtally_proxy_overhead_seconds"), ((None, "green"), (0.001, "red"))))
        .with_panel(number(
            "CPU per statement", "Processor time of pgtally per finished statement.", "s",
            "sum(rate(process_cpu_seconds_total{@}[$__rate_interval]))"
            " / (sum(rate(pgtally_queries_total{@}[$__rate_interval])) > 0)"))
        .with_row(row("Connections"))
        .with_panel(graph(
            "Sessions by state", "Client connections.", "short",
            [("sum by (state) (pgtally_sessions{@})", "{{state}}")], width=8, is_stacked=True))
        .with_panel(graph(
            "Opened and closed", "Connections per second; closed ones by reason.", "ops",
            [("sum(rate(pgtally_connections_opened_total{@}[$__rate_interval]))", "opened"),
             ("sum by (reason) (rate(pgtally_connections_closed_total{@}[$__rate_interval]))",
              "closed: {{reason}}")], width=8))
        .with_panel(graph(
            "Connecting to the upstream", "Time until PostgreSQL accepted a connection.", "s",
            percentiles("pgtally_upstream_connect_seconds"), width=8))
        .with_panel(graph(
            "Refused sessions", "Per second, with SQLSTATE 53300, by the limit that was met.", "ops",
            [("sum by (limit) (rate(pgtally_sessions_refused_total{@}[$__rate_interval]))", "{{limit}}")], width=8))
        .with_panel(graph(
            "Servers by role", "What the prober found the upstreams to be; only with target_session_attrs.", "short",
            [("sum by (role) (pgtally_upstreams{@})", "{{role}}")], width=8, is_stacked=True))
        .with_panel(graph(
            "Cancel requests", "Per second, by result.", "ops",
            [("sum by (result) (rate(pgtally_cancel_requests_total{@}[$__rate_interval]))", "{{result}}")],
            width=8))
        .with_panel(graph(
            "Sides that stand still", "Sessions of which one side takes nothing while bytes wait for it.", "short",
            [("sum by (side) (pgtally_sessions_stalled{@})", "{{side}} now"),
             ("sum by (side) (increase(pgtally_stalls_total{@}[$__rate_interval]))", "{{side}}, new")], width=12))
        .with_panel(graph(
            "Refused connections to the admin listener", "Per second, of addresses with too many open.", "ops",
            [("sum(rate(pgtally_admin_connections_refused_total{@}[$__rate_interval]))", "refused")], width=12))
        .with_panel(graph(
            "TLS handshakes", "Per second, by side and result.", "ops",
            [("sum by (side, result) (rate(pgtally_tls_handshakes_total{@}[$__rate_interval]))", "{{side}}: {{result}}")], width=12))
        .with_panel(graph(
            "Failed logins",
            "Per second, as far as pgtally has a part in them; PostgreSQL's own refusals are errors of class 28.", "ops",
            [("sum by (side, reason) (rate(pgtally_auth_failures_total{@}[$__rate_interval]))",
              "{{side}}: {{reason}}")], width=12))
        .with_row(row("Observation"))
        .with_panel(graph(
            "Dropped by reason", "Observations given up per second.", "ops",
            [("sum by (reason) (rate(pgtally_observations_dropped_total{@}[$__rate_interval]))", "{{reason}}")],
            width=8))
        .with_panel(graph(
            "Blind by reason", "Sessions per second that went on unobserved. Replication is so by design.", "ops",
            [("sum by (reason) (rate(pgtally_sessions_blind_total{@}[$__rate_interval]))", "{{reason}}")], width=8))
        .with_panel(graph(
            "Labels without a slot", "Observations per second counted as `other` because all slots were taken.",
            "ops", [("sum by (label) (rate(pgtally_label_overflow_total{@}[$__rate_interval]))", "{{label}}")],
            width=8))
        .with_panel(graph(
            "Aggregator", "Restarts with empty state, and parts of requests that came too late, per second.", "ops",
            [("sum(rate(pgtally_aggregator_restarts_total{@}[$__rate_interval]))", "restarts"),
             ("sum(rate(pgtally_late_parts_total{@}[$__rate_interval]))", "late parts")], width=8))
        .with_panel(graph(
            "Series", "Time series that a scrape brings.", "short",
            [("scrape_samples_scraped{@}", "{{instance}}")], width=8))
        .with_panel(graph(
            "Time of a scrape", "What reading the metrics takes.", "s",
            [("scrape_duration_seconds{@}", "{{instance}}")], width=8))
        .with_row(row("Resources"))
        .with_panel(graph(
            "Bytes relayed", "Per second, by direction.", "Bps",
            [("sum by (direction) (rate(pgtally_relay_bytes_total{@}[$__rate_interval]))", "{{direction}}")],
            width=6))
        .with_panel(graph(
            "CPU", "Cores in use.", "short",
            [("sum by (instance) (rate(process_cpu_seconds_total{@}[$__rate_interval]))", "{{instance}}")], width=6))
        .with_panel(graph(
            "Memory", "Resident bytes.", "bytes",
            [("sum by (instance) (process_resident_memory_bytes{@})", "{{instance}}")], width=6))
        .with_panel(graph(
            "Files", "Open file descriptors, and how many may be open.", "short",
            [("sum by (instance) (process_open_fds{@})", "{{instance}} open"),
             ("sum by (instance) (process_max_fds{@})", "{{instance}} limit")], width=6))
        .with_panel(rows(
            "Versions", "What runs where, and since when.",
            [("Started", "dateTimeAsIso",
              "max by (instance, version) (pgtally_build_info{@} * on (job, instance) group_left ()"
              " (process_start_time_seconds{@} * 1000))")],
            "instance", width=12, height=6))
        .with_panel(graph(
            "Configuration reloads", "In the last hour, by result.", "short",
            [("sum by (result) (increase(pgtally_config_reloads_total{@}[1h]))", "{{result}}")], width=12, height=6))
    )
