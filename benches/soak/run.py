"""An hour, or two minutes, of mixed load through pgtally: memory stays flat, nothing fails, nothing is left behind.

The load: pgbench reading and writing over kept connections, over connections made anew for each transaction, prepared
and simple; COPY out; clients that are killed in the middle; reloads all the time. A sample is taken every few seconds.
In the first half tables fill up to their bounds; after it, memory may not grow by more than a tenth.

Usage: run.py --pgtally PATH [--minutes N]
"""

import argparse
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
# The allocator's own play, on top of the tenth.
GROWTH_BYTES = 4 * 1024 * 1024
PROGRESS_SAMPLES = 15

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


def copy_forever(postgres, port, is_over):
    """COPY out, one connection each; answers with what went wrong."""
    while not is_over.is_set():
        client = psql(postgres, port, "COPY pgbench_accounts TO STDOUT", stdout=subprocess.DEVNULL)
        if client.wait() != 0:
            return ["a COPY failed"]
    return []


def kill_forever(postgres, port, is_over):
    """Clients that crash in the middle of a big answer."""
    while not is_over.wait(KILL_SECONDS):
        with psql(postgres, port, "SELECT * FROM pgbench_accounts", stdout=subprocess.PIPE) as client:
            client.kill()
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pgtally", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60
    problems, samples, is_over = [], [], threading.Event()
    with Postgres(scale=5) as postgres:
        proxy = Proxy(arguments.pgtally, postgres)

        def bench(load):
            done = postgres.pgbench(proxy.port, *load, "-n", "-T", int(seconds))
            if done.returncode != 0:
                problems.append(f"pgbench {' '.join(load)}: {done.stderr[-500:]}")

        def background(work):
            problems.extend(work(postgres, proxy.port, is_over))

        threads = [threading.Thread(target=bench, args=(load,)) for load in LOADS]
        threads += [threading.Thread(target=background, args=(work,)) for work in (copy_forever, kill_forever)]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        next_reload = started + RELOAD_SECONDS
        while time.monotonic() < started + seconds:
            time.sleep(SAMPLE_SECONDS)
            if time.monotonic() > next_reload:
                proxy.reload()
                next_reload += RELOAD_SECONDS
            samples.append(resident_bytes(proxy.process.pid))
            if len(samples) % PROGRESS_SAMPLES == 0:
                print(f"{time.monotonic() - started:6.0f} s  {samples[-1] / 2**20:6.1f} MiB", flush=True)
        is_over.set()
        for thread in threads:
            thread.join()
        warm = max(samples[: max(len(samples) // 2, 1)])
        grown = samples[-1] - warm
        queries, blind = proxy.metric("pgtally_queries_total"), proxy.metric("pgtally_sessions_blind_total")
        opened = proxy.metric("pgtally_connections_opened_total")
        time.sleep(1)
        left = opened - proxy.metric("pgtally_connections_closed_total")
        problems += [line for line in proxy.stop() if '"level":"ERROR"' in line][:10]
        if grown > warm / 10 + GROWTH_BYTES:
            problems.append(f"memory grew by {grown / 2**20:.1f} MiB from {warm / 2**20:.1f} MiB")
        if blind:
            problems.append(f"{blind:.0f} sessions went blind")
        if left:
            problems.append(f"{left:.0f} sessions were left behind")
    print(f"{queries:.0f} queries, {opened:.0f} connections, {warm / 2**20:.1f} MiB warm, {samples[-1] / 2**20:.1f} MiB at the end")
    for problem in problems:
        print(f"PROBLEM {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartError as error:
        sys.exit(str(error))
