"""Tables of what was measured. A ratio is the median of the ratios within each round: rounds differ, endpoints in one
round hardly do."""

from statistics import median

from measure import BIG_RESULTS

BASE = "pgbouncer"


def by_round(runs, endpoint, mode, clients):
    """Runs of one endpoint in one setting, by round."""
    return {
        run["round"]: run
        for run in runs
        if (run["endpoint"], run["mode"], run["clients"]) == (endpoint, mode, clients)
    }


def median_of(runs, field):
    """Median of a field, or None where nothing was measured."""
    values = [run[field] for run in runs.values() if field in run]
    return median(values) if values else None


def ratio(runs, base, field):
    """Median, least and greatest ratio to `base` within a round, or None."""
    ratios = [run[field] / base[number][field] for number, run in runs.items()
              if field in run and field in base.get(number, {})]
    return (median(ratios), min(ratios), max(ratios)) if ratios else None


def shown(value, form):
    """A figure in a table."""
    return "–" if value is None else form.format(value)


def big_result_table(runs, endpoints, mode, clients):
    """One setting: throughput and CPU per gigabyte of each endpoint."""
    lines = [f"### {mode}", "", "| endpoint | MB/s | × haproxy (range) | CPU ms/GB | × haproxy (range) |"]
    lines += ["|---|---|---|---|---|"]
    base = by_round(runs, "haproxy", mode, clients)
    for endpoint in endpoints:
        own = by_round(runs, endpoint, mode, clients)
        cells = [endpoint]
        for field in ("mb_per_second", "cpu_ms_per_gb"):
            cells += [shown(median_of(own, field), "{:,.0f}"), ranged(ratio(own, base, field))]
        lines.append("| " + " | ".join(cells) + " |")
    return lines + [""]


def ranged(found):
    """A ratio with its range."""
    return f"{found[0]:.2f} ({found[1]:.2f}–{found[2]:.2f})" if found else "–"


def load_table(runs, endpoints, mode, clients):
    """One setting: CPU, TPS and latency of each endpoint."""
    lines = [
        f"### {mode}, {clients} client{'s' if clients > 1 else ''}",
        "",
        f"| endpoint | CPU µs/query | × {BASE} (range) | of it user | TPS | × direct | added latency µs |",
        "|---|---|---|---|---|---|---|",
    ]
    base = by_round(runs, BASE, mode, clients)
    direct = by_round(runs, "direct", mode, clients)
    for endpoint in endpoints:
        own = by_round(runs, endpoint, mode, clients)
        cpu = ratio(own, base, "cpu_us")
        tps = ratio(own, direct, "tps")
        added = [run["latency_us"] - direct[number]["latency_us"] for number, run in own.items() if number in direct]
        cells = [
            endpoint,
            shown(median_of(own, "cpu_us"), "{:.1f}"),
            ranged(cpu),
            shown(median_of(own, "user_us"), "{:.1f}"),
            shown(median_of(own, "tps"), "{:,.0f}"),
            shown(tps and tps[0], "{:.2f}"),
            shown(median(added) if added and own is not direct and endpoint != "direct" else None, "{:.0f}"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines + [""]


def calls_table(calls):
    """System calls per query, simple protocol."""
    lines = ["### System calls per query", "", "| endpoint | clients | total | by name |", "|---|---|---|---|"]
    for entry in calls:
        # What rounds to nothing is noise of the logins.
        names = ", ".join(f"{name} {count:.2f}" for name, count in entry["calls"].items() if count >= 0.05)
        total = sum(entry["calls"].values())
        lines.append(f"| {entry['endpoint']} | {entry['clients']} | {total:.2f} | {names} |")
    return lines + [""]


def instructions_table(counted):
    """User-space instructions per query."""
    lines = ["### User-space instructions per query, 1 client", ""]
    lines += ["| endpoint | mode | instructions |", "|---|---|---|"]
    lines += [f"| {entry['endpoint']} | {entry['mode']} | {entry['instructions']:,} |" for entry in counted]
    return lines + [""]


def idle_table(idle):
    """Memory of idle sessions."""
    lines = [
        "### Idle sessions, one query each",
        "",
        "| endpoint | empty MiB | used MiB | KiB per session | KiB per further session | idle CPU % |",
        "|---|---|---|---|---|---|",
    ]
    for endpoint, entry in idle.items():
        lines.append(
            f"| {endpoint} | {entry['resident_kib']['empty'] / 1024:.1f} | {entry['resident_kib']['used'] / 1024:.1f} "
            f"| {entry['kib_per_session']:.1f} "
            f"| {shown(entry['kib_per_further_session'], '{:.1f}')} | {entry['idle_cpu_percent']:.2f} |"
        )
    return lines + [""]


def tables(results):
    """Everything as Markdown."""
    runs, options = results["runs"], results["options"]
    settings = list(dict.fromkeys((run["mode"], run["clients"]) for run in runs))
    lines = []
    for mode, clients in settings:
        table = big_result_table if mode in BIG_RESULTS else load_table
        lines += table(runs, options["endpoints"], mode, clients)
    if results["system_calls"]:
        lines += calls_table(results["system_calls"])
    if results["instructions"]:
        lines += instructions_table(results["instructions"])
    if results["idle"]:
        lines += idle_table(results["idle"])
    return "\n".join(lines)
