"""Compares what pgtally reports with the server's log and with what the scenario announced."""

import datetime
from collections import Counter, namedtuple

Check = namedtuple("Check", "name ok detail")

# Announced times and pgtally's are from one clock, but written at different points of the path.
SLACK_SECONDS = 0.008
# A silence in a unit from which on an overloaded machine, not pgtally, may have cut it.
STALL_SECONDS = 0.08


class Tally:
    """Counts checks and prints one line for each."""

    def __init__(self, is_verbose=False):
        self.passed = 0
        self.failed = 0
        self.is_verbose = is_verbose

    def add(self, check):
        """Prints and counts one check."""
        if check.ok:
            self.passed += 1
            print(f"ok    {check.name}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {check.name}\n      {check.detail}", flush=True)


def log_counts(announced, logged):
    """Number of the request → counted statements according to the log."""
    everything = [statement for statements in logged.values() for statement in statements]
    counts = {}
    for request in announced:
        text = request.get("by_text")
        # Requests that run at the same time can't be cut out of the log by markers, only by their tags.
        mine = [s for s in everything if text in s.text] if text else logged.get(request["number"], [])
        counts[request["number"]] = sum(s.counted for s in mine)
    return counts


def total(logged):
    """Counted statements of a whole scenario."""
    return sum(s.counted for statements in logged.values() for s in statements)


def direct_checks(scenario, announced, logged):
    """Whether the log's counts are those that the scenario's author knows."""
    counts = log_counts(announced, logged)
    for request in announced:
        known = request.get("counted")
        if known is not None:
            found = counts[request["number"]]
            yield Check(f"{title(scenario, request)}: log counts {known}", found == known, f"found {found}")


def proxied_checks(scenario, announced, direct_counts, logged, requests, findings):
    """Everything that must hold after a scenario ran through pgtally."""
    counts = log_counts(announced, logged)
    for request in announced:
        number = request["number"]
        yield Check(
            f"{title(scenario, request)}: as many statements as without pgtally",
            counts[number] == direct_counts.get(number),
            f"{counts[number]} through pgtally, {direct_counts.get(number)} directly",
        )
        if not request.get("only_total"):
            yield from request_checks(scenario, request, counts[number], logged, requests)
    reported, expected = sum(r["queries"] for r in requests), total(logged)
    yield Check(f"{scenario}: all {expected} statements are in some request", reported == expected, f"found {reported}")
    yield from finding_checks(scenario, announced, findings)


def title(scenario, request):
    """Name of a request in the output."""
    return f"{scenario} {request['number']:>2} {request['page']}"


def request_checks(scenario, request, count, logged, requests):
    """One request: count, level and route."""
    name = title(scenario, request)
    key = request.get("key")
    mine = [r for r in requests if is_key(r, key)] if key else within(request, requests)
    mine = [r for r in mine if r["queries"] > 0]
    found = sum(r["queries"] for r in mine)
    shown = [(r["key"], r["attribution"], r["route"], r["queries"]) for r in mine]
    yield Check(f"{name}: {count} statements counted", found == count, f"pgtally says {found}: {shown}")
    if count == 0:
        return
    is_stalled = has_stall(logged.get(request["number"], []))
    right = {*request["level"], *(["idle"] if is_stalled else [])}
    levels = {r["attribution"] for r in mine}
    yield Check(f"{name}: attribution {' or '.join(request['level'])}", bool(levels) and levels <= right, f"{shown}")
    yield Check(f"{name}: route {request['route']}", {r["route"] for r in mine} == {request["route"]}, f"{shown}")
    units = request.get("units", 1)
    if units is not None and not is_stalled:
        yield Check(f"{name}: reported as {units}", len(mine) == units, f"{shown}")


def is_key(reported, key):
    """Whether a reported request has the announced key, or one of the announced keys."""
    return reported["key"] in (key if isinstance(key, list) else [key])


def within(request, requests):
    """Reported units that began while the announced request ran."""
    begin, end = request["start"] - SLACK_SECONDS, request["end"] + SLACK_SECONDS
    return [r for r in requests if begin <= seconds(r["started"]) <= end]


def seconds(moment):
    """A moment of the API, RFC 3339 in UTC with any number of decimals, as seconds since 1970."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    since = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return since.timestamp() + float(f"0.{fraction or 0}")


def has_stall(statements):
    """Whether the log shows a silence within a request that is as long as an idle gap."""
    times = [datetime.datetime.strptime(s.time.rsplit(" ", 1)[0], "%Y-%m-%d %H:%M:%S.%f") for s in statements]
    return any((later - earlier).total_seconds() >= STALL_SECONDS for earlier, later in zip(times, times[1:]))


def finding_checks(scenario, announced, findings):
    """The N+1 findings of a scenario are exactly the announced ones, and nothing else was found."""
    pages = {(r["route"], r["page"], column) for r in announced for column in as_list(r.get("linked"))}
    expected = Counter((route, column) for route, _, column in pages)
    high = [f for f in findings if f["kind"] == "n_plus_one" and f["confidence"] == "high"]
    found = Counter((f["route"], f.get("linked_column")) for f in high)
    yield Check(
        f"{scenario}: {sum(expected.values())} linked N+1 {dict(expected) or ''}", found == expected, f"found {dict(found)}"
    )
    # How long a statement takes is the machine's business.
    others = [f for f in findings if f not in high and f["kind"] != "slow_statement"]
    planted = Counter(kind for r in announced for kind in as_list(r.get("other_kinds")))
    yield Check(
        f"{scenario}: no other finding but {dict(planted) or 'none'}",
        Counter(f["kind"] for f in others) == planted,
        "; ".join(f"{f['kind']} {f['route']} x{f['repeat']} {f['statement'][:80]}" for f in others),
    )


def as_list(value):
    """A list of what may be nothing, one, or several."""
    return value if isinstance(value, list) else [] if value is None else [value]
