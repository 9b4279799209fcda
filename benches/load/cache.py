#!/usr/bin/env python3
"""Answers from pgtally's cache beside those who answer such questions otherwise, interleaved; prints ratios.

At 1 client a hit stands beside a GET of Redis (redis-benchmark), at 32 beside pgpool-II's query cache and the same
SELECT of one row asked directly, and an aggregate of 50 ms or more beside its answer from the cache. What is cached at
all is asked from both caches, so that a ratio is never one of two misses. Everything runs on one core.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import machine
from endpoints import PGPOOL_CONF, PGTALLY_CACHE, Endpoint, pgtally, program
from measure import number
from postgres import Postgres, StartError, free_port, spawn, wait_for

ONE_ROW = "SELECT abalance FROM pgbench_accounts WHERE aid = 42"
AGGREGATE = "SELECT sum(aid % 7 * (bid + 1)), count(DISTINCT bid) FROM pgbench_accounts"
AGGREGATE_MS_MIN = 50
CLIENTS = 32

PGPOOL_CACHE = """\
memory_cache_enabled = on
memqcache_method = 'shmem'
memqcache_total_size = 64MB
memqcache_oiddir = '{directory}/oids'
"""
REDIS = [
    "redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no",
]


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="cache.sh", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pgtally", type=lambda text: Path(text).resolve(), required=True, help="the binary; cache.sh builds it when not given")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=3, help="of one run; default: 3")
    parser.add_argument("--scale", type=int, default=10, help="of pgbench's tables; default: 10")
    parser.add_argument("--core", type=int, default=0, help="core to run on; default: 0; -1 for all")
    parser.add_argument("--check", action="store_true", help="fail where a ratio is on the wrong side of its bar")
    parser.add_argument("--results", type=Path, help="file to write to, JSON")
    return parser.parse_args()


class Bench:
    """The running programs and the scripts of pgbench."""

    def __init__(self, options, postgres, redis_port, cached, pgpool, admin_port):
        self.options, self.postgres, self.redis_port, self.admin_port = options, postgres, redis_port, admin_port
        self.cached, self.pgpool = cached, pgpool
        hint = "/* pgtally:cache ttl=10m */"
        self.scripts = {}
        for name, text in {
            "one": f"{ONE_ROW};", "one-cached": f"{ONE_ROW} {hint};",
            "aggregate": f"{AGGREGATE};", "aggregate-cached": f"{AGGREGATE} {hint};",
        }.items():
            self.scripts[name] = postgres.base / f"{name}.sql"
            self.scripts[name].write_text(text + "\n")

    def tps(self, port, script, clients, *amount):
        """Transactions per second of one run of pgbench."""
        amount = amount or ("-T", self.options.seconds)
        return number(r"tps = ([\d.]+)", self.postgres.pgbench(
            port, "-n", "-M", "simple", "-f", self.scripts[script], "-c", clients, "-j", 1, *amount,
        ))

    def redis_gets(self):
        """GETs per second of one client, values as long as the row."""
        command = ["redis-benchmark", "-p", self.redis_port, "-c", 1, "-n", 20_000 * self.options.seconds, "-t", "get", "-d", 16, "--csv"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if line.startswith('"GET"'))
        return float(line.split(",")[1].strip('"'))

    def hits(self):
        """Answers that pgtally has given from its cache."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/api/v1/cache", timeout=10) as answer:
            return sum(tag["hits"] for tag in json.load(answer)["tags"])

    def pgpool_hits(self):
        """Answers that pgpool-II has given from its cache."""
        shown = self.postgres._client("psql", self.pgpool.port, "-qAtX", "-c", "SHOW pool_cache").stdout
        return int(shown.split("|")[0])

    def warm_up(self):
        """Until the answers are kept: definitions have to be read first, and pgpool-II's children to be forked."""
        deadline = time.monotonic() + 30
        while self.hits() == 0:
            if time.monotonic() > deadline:
                raise StartError("pgtally answers nothing from its cache")
            for script in ("one-cached", "aggregate-cached"):
                self.tps(self.cached.port, script, 1, "-t", 3)
        self.tps(self.pgpool.port, "one", CLIENTS, "-t", 3)

    def round(self):
        """Every figure once; microseconds and transactions per second."""
        figures = {
            "redis_get_us": 1e6 / self.redis_gets(),
            "hit_us": 1e6 / self.tps(self.cached.port, "one-cached", 1),
            "direct_us": 1e6 / self.tps(self.postgres.port, "one", 1),
            "hit_tps_32": self.tps(self.cached.port, "one-cached", CLIENTS),
            "direct_tps_32": self.tps(self.postgres.port, "one", CLIENTS),
            "pgpool_tps_32": self.tps(self.pgpool.port, "one", CLIENTS),
            "aggregate_ms": 1e3 / self.tps(self.postgres.port, "aggregate", 1, "-t", 5),
            "aggregate_hit_ms": 1e3 / self.tps(self.cached.port, "aggregate-cached", 1, "-t", 500),
        }
        return figures


# Name, what it is, whether a figure of one round is good.
BARS = [
    ("a hit takes, of a GET of Redis, 1 client", lambda it: it["hit_us"] / it["redis_get_us"], lambda ratio: ratio <= 1),
    ("hits per second, of pgpool-II's cache, 32 clients", lambda it: it["hit_tps_32"] / it["pgpool_tps_32"], lambda ratio: ratio >= 1),
    ("hits per second, of the direct SELECT, 32 clients", lambda it: it["hit_tps_32"] / it["direct_tps_32"], lambda ratio: ratio > 1),
    ("milliseconds for an aggregate from the cache", lambda it: it["aggregate_hit_ms"], lambda ms: ms < 1),
]


def measure(options):
    """All rounds, and what the caches say of them."""
    admin_port, redis_port = free_port(), free_port()
    with Postgres(options.scale) as postgres:
        (postgres.base / "oids").mkdir()
        if postgres.account:
            os.chown(postgres.base / "oids", postgres.account.pw_uid, postgres.account.pw_gid)
        redis_log = postgres.base / "redis.log"
        with redis_log.open("w") as sink:
            redis = spawn([part.format(port=redis_port) for part in REDIS], postgres.base, stdout=sink, stderr=sink)
        try:
            wait_for(redis_port, redis, redis_log)
            subprocess.run(["redis-cli", "-p", str(redis_port), "set", "key:__rand_int__", "0" * 16], check=True, capture_output=True)
            command = pgtally(options.pgtally, "on", "--config", "{file}")
            command[command.index("--admin") + 1] = f"127.0.0.1:{admin_port}"
            cached = Endpoint("pgtally-cache", postgres, command, None, PGTALLY_CACHE)
            pgpool = Endpoint("pgpool-cache", postgres, [program("pgpool"), "-n", "-f", "{file}"], postgres.account, PGPOOL_CONF + PGPOOL_CACHE)
            with cached, pgpool:
                bench = Bench(options, postgres, redis_port, cached, pgpool, admin_port)
                bench.warm_up()
                rounds = []
                for count in range(options.rounds):
                    rounds.append(bench.round())
                    print(f"round {count + 1} of {options.rounds} is done", file=sys.stderr, flush=True)
                return rounds, {"pgtally_hits": bench.hits(), "pgpool_hits": bench.pgpool_hits()}
        finally:
            redis.terminate()
            redis.wait()


def main():
    """Returns the exit code."""
    options = arguments()
    if options.core >= 0:
        os.sched_setaffinity(0, {options.core})
    try:
        rounds, caches = measure(options)
    except StartError as error:
        print(f"cache.sh: {error}", file=sys.stderr)
        return 1
    median = {name: statistics.median(it[name] for it in rounds) for name in rounds[0]}
    print("| figure | median | least | most |\n|---|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value:,.1f} | {min(it[name] for it in rounds):,.1f} | {max(it[name] for it in rounds):,.1f} |")
    print("\n| ratio, median of the rounds' | | bar |\n|---|---|---|")
    failed = [] if median["aggregate_ms"] >= AGGREGATE_MS_MIN else [f"the aggregate takes less than {AGGREGATE_MS_MIN} ms"]
    for name, of_round, is_good in BARS:
        ratio = statistics.median(of_round(it) for it in rounds)
        print(f"| {name} | {ratio:.2f} | {'met' if is_good(ratio) else 'NOT MET'} |")
        failed += [] if is_good(ratio) else [name]
    print(f"\nfrom the caches: {caches['pgtally_hits']:,} by pgtally, {caches['pgpool_hits']:,} by pgpool-II")
    if options.results:
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps({"machine": machine.description(), "rounds": rounds, **caches}, indent=1) + "\n")
    if failed and options.check:
        print("not met: " + "; ".join(failed), file=sys.stderr)
    return 1 if failed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
