"""An hour, or two minutes, of mixed load through pgtally: memory stays flat, nothing fails, nothing is left behind.

The load: pgbench reading and writing over kept connections, over connections made anew for each transaction, prepared
and simple; COPY out, whose bytes are compared with those of a direct connection; clients that are killed in the middle;
reloads all the time. A sample is taken every few seconds. In the first half tables fill up to their bounds; after it,
memory may not grow by more than a tenth.

Usage: run.py --pgtally PATH [--minutes N] [--rate N] [--record FILE]. With --rate each pgbench makes at most so many
transactions a second, and a COPY is made each second: for a machine that others use too. The record is a Markdown file
with what was found and the curve of the memory. The last line is `N passed, N failed`.
"""

import argparse
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "load"))

from postgres import CLIENT_ENVIRONMENT, Postgres, StartError, free_port  # noqa: E402

SAMPLE_SECONDS = 2
RELOAD_SECONDS = 10
KILL_SECONDS = 3
END_SECONDS = 10
# Some 4 MiB, the same each time.
COPY = "COPY (SELECT n, md5(n::text) FROM generate_series(1, 100000) n) TO STDOUT"
# The allocator's own play, on top of the tenth; and, in a short run, tables that have yet to reach their bounds.
GROWTH_BYTES = 4 * 1024 * 1024
SHORT_SECONDS, SHORT_GROWTH_BYTES = 600, 16 * 1024 * 1024
PROGRESS_SAMPLES = 15
RECORD_POINTS = 30

LOADS = [
    ["-S", "-M", "simple", "-c", "4"],
    ["-S", "-M", "prepared", "-c", "4"],
    ["-N", "-M", "extended", "-c", "2"],
    ["-S", "-C", "-c", "2"],
]


def resident_bytes(process):
    """Memory of a process, as the kernel counts it."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


class Proxy:
    """A running pgtally that says when it has reloaded."""

    def __init__(self, binary, postgres):
        self.port, self.admin = free_port(), free_port()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = postgres.base / "notify"
        self.notify.bind(str(path))
        self.notify.settimeout(30)
        self.log = (postgres.base / "pgtally.log").open("w+")
        command = [binary, "serve", "--upstream", f"127.0.0.1:{postgres.port}", "--log-format", "json"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin}"]
        self.process = subprocess.Popen(command, stderr=self.log, env=os.environ | {"NOTIFY_SOCKET": str(path)})
        self._hear("READY=1")

    def _hear(self, wanted):
        while not self.notify.recv(256).decode().startswith(wanted):
            pass

    def reload(self):
        self.process.send_signal(signal.SIGHUP)
        self._hear("RELOADING=1")
        self._hear("READY=1")

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}(\{{| )", line)]
        return sum(values)

    def stop(self):
        """Ends it in good order; answers with its log."""
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.seek(0)
        return self.log.read().splitlines()


def psql(postgres, port, statement, **options):
    """A psql that runs one statement."""
    command = [postgres.binaries / "psql", "-h", "127.0.0.1", "-p", str(port), "-qAtX", "-c", statement]
    return subprocess.Popen(command, env=os.environ | CLIENT_ENVIRONMENT, **options)


def copied(postgres, port):
    """Digest of a COPY out over a connection of its own; None when it failed."""
    with psql(postgres, port, COPY, stdout=subprocess.PIPE) as client:
        digest = hashlib.file_digest(client.stdout, "sha256").hexdigest()
    return digest if client.returncode == 0 else None


def copy_forever(postgres, port, is_over, pause):
    """COPY out, all the time; answers with what went wrong."""
    expected = copied(postgres, postgres.port)
    while not is_over.wait(pause):
        found = copied(postgres, port)
        if found is None:
            return ["a COPY failed"]
        if found != expected:
            return ["a COPY had other bytes than over a direct connection"]
    return []


def kill_forever(postgres, port, is_over, _):
    """Clients that crash in the middle of a big answer."""
    while not is_over.wait(KILL_SECONDS):
        with psql(postgres, port, "SELECT * FROM pgbench_accounts", stdout=subprocess.PIPE) as client:
            client.kill()
    return []


class Load:
    """Everything that runs at the same time, and what went wrong with it."""

    def __init__(self, postgres, port, seconds, rate):
        self.problems = {"bench": [], "copy": [], "kill": []}
        self.is_over = threading.Event()

        limited = ["-R", rate] if rate else []

        def bench(load):
            done = postgres.pgbench(port, *load, *limited, "-n", "-T", int(seconds))
            if done.returncode != 0:
                self.problems["bench"].append(f"pgbench {' '.join(load)}: {done.stderr[-500:]}")

        def background(name, work):
            self.problems[name].extend(work(postgres, port, self.is_over, 1 if rate else 0))

        self.threads = [threading.Thread(target=bench, args=(load,)) for load in LOADS]
        for name, work in (("copy", copy_forever), ("kill", kill_forever)):
            self.threads.append(threading.Thread(target=background, args=(name, work)))
        for thread in self.threads:
            thread.start()

    def end(self):
        """Waits for the last of it."""
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def watch(proxy, seconds):
    """Reloads now and then; answers with samples of the memory."""
    samples, started = [], time.monotonic()
    next_reload = started + RELOAD_SECONDS
    while time.monotonic() < started + seconds:
        time.sleep(SAMPLE_SECONDS)
        if time.monotonic() > next_reload:
            proxy.reload()
            next_reload += RELOAD_SECONDS
        samples.append(resident_bytes(proxy.process.pid))
        if len(samples) % PROGRESS_SAMPLES == 0:
            print(f"{time.monotonic() - started:6.0f} s  {samples[-1] / 2**20:6.1f} MiB", flush=True)
    return samples


def sessions_left(proxy):
    """Sessions that are open though their clients have gone, once there was time to notice."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        opened, closed = (proxy.metric(f"pgtally_connections_{what}_total") for what in ("opened", "closed"))
        if opened == closed or time.monotonic() > deadline:
            return opened - closed
        time.sleep(0.1)


def checks(proxy, load, samples, seconds, say):
    """What must hold after the load: (name, problems)."""
    warm = max(samples[: max(len(samples) // 2, 1)])
    grown = samples[-1] - warm
    allowed = warm / 10 + (SHORT_GROWTH_BYTES if seconds < SHORT_SECONDS else GROWTH_BYTES)
    blind, left = proxy.metric("pgtally_sessions_blind_total"), sessions_left(proxy)
    queries, opened = proxy.metric("pgtally_queries_total"), proxy.metric("pgtally_connections_opened_total")
    lost = proxy.metric("pgtally_observations_dropped_total")
    say(f"{queries:.0f} queries, {opened:.0f} connections, {warm / 2**20:.1f} MiB warm, {samples[-1] / 2**20:.1f} MiB at the end, {lost:.0f} dropped")
    errors = [line for line in proxy.stop() if '"level":"ERROR"' in line][:10]
    yield "every transaction succeeds", load.problems["bench"]
    yield "a COPY has the bytes of a direct one", load.problems["copy"]
    yield "clients can be killed", load.problems["kill"]
    yield "memory stays flat", [f"it grew by {grown / 2**20:.1f} MiB"] if grown > allowed else []
    yield "no session goes blind", [f"{blind:.0f} did"] if blind else []
    yield "no session is left behind", [f"{left:.0f} are"] if left else []
    yield "no error is logged", errors


def curve(samples, seconds):
    """The memory over time, as a table of some thirty rows."""
    yield from ("", "| minute | MiB |", "| ---: | ---: |")
    step = max(len(samples) // RECORD_POINTS, 1)
    for number in range(0, len(samples), step):
        yield f"| {number * seconds / len(samples) / 60:.1f} | {samples[number] / 2**20:.1f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pgtally", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, help="transactions a second of each pgbench; as many as there can be without it")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    seconds, failed, count, told = arguments.minutes * 60, 0, 0, []

    def say(line):
        print(line, flush=True)
        told.append(line)

    with Postgres(scale=5) as postgres:
        proxy = Proxy(arguments.pgtally, postgres)
        load = Load(postgres, proxy.port, seconds, arguments.rate)
        samples = watch(proxy, seconds)
        load.end()
        for name, problems in checks(proxy, load, samples, seconds, say):
            say(f"FAIL  {name}: {problems}" if problems else f"ok    {name}")
            failed += bool(problems)
            count += 1
    say(f"{count - failed} passed, {failed} failed")
    if arguments.record:
        rate = f"at most {arguments.rate} transactions/s of each pgbench" if arguments.rate else "no limit of the rate"
        head = [f"# Soak: {arguments.minutes:g} minutes of mixed load", "", f"{rate}, `benches/soak/run.py`.", "", "```"]
        arguments.record.write_text("\n".join([*head, *told, "```", *curve(samples, seconds)]) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartError as error:
        sys.exit(str(error))
