"""Single measurements of one endpoint: load, system calls, memory of idle sessions."""

import re
import signal
import socket
import ssl
import subprocess
import time

import machine
from postgres import StartError

# Longer than pgtally waits before it hands over a session's last request.
SETTLE_SECONDS = 2
IDLE_CPU_SECONDS = 5
# More than pgtally remembers of the latest requests.
USED_REQUESTS = 3_000
STRACE_QUERIES = 2_000
CALLGRIND_QUERIES = 2_000


# One in ten statements carries tags, a trace id of its own among them.
TAGGED_SCRIPT = """\
\\set aid random(1, 100000 * :scale)
\\set tenth random(1, 10)
\\set trace random(100000000, 999999999)
\\if :tenth = 1
SELECT abalance FROM pgbench_accounts WHERE aid = :aid /*route='/accounts',traceparent='00-4bf92f3577b34da6a3ce929:trace-00f067aa0ba902b7-01'*/;
\\else
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
\\endif
"""
BIG_RESULTS = {
    "copy": "COPY pgbench_accounts TO STDOUT",
    "rows": "SELECT * FROM pgbench_accounts",
}
# What a run is about: simple, extended, prepared of pgbench -S; tagged: simple, one in ten with tags; churn: a
# connection for each query.
MODES = ["simple", "extended", "prepared", "tagged", "churn", *BIG_RESULTS]


def workload(postgres, mode):
    """Arguments of pgbench for a mode."""
    if mode == "churn":
        return ["-S", "-C"]
    if mode == "tagged":
        script = postgres.base / "tagged.sql"
        script.write_text(TAGGED_SCRIPT)
        return ["-f", script, "-D", f"scale={postgres.scale}"]
    return ["-S", "-M", mode]


def load(postgres, endpoint, mode, clients, seconds):
    """One run of pgbench, or of one big result; CPU is that of the proxy's process tree."""
    if mode in BIG_RESULTS:
        return big_result(endpoint, BIG_RESULTS[mode])
    before = machine.cpu(endpoint.pid) if endpoint.pid else None
    arguments = [*workload(postgres, mode), "-n", "-c", clients, "-j", 1, "-T", seconds]
    result = postgres.pgbench(endpoint.port, *arguments, sslmode=endpoint.sslmode)
    used = machine.cpu(endpoint.pid) - before if endpoint.pid else None
    transactions = number(r"transactions actually processed: (\d+)", result)
    measured = {
        "tps": number(r"tps = ([\d.]+)", result),
        "latency_us": number(r"latency average = ([\d.]+) ms", result) * 1000,
        "transactions": int(transactions),
    }
    if used:
        measured |= {
            "cpu_us": used.total / transactions / 1000,
            "user_us": used.user / transactions / 1000,
            "system_us": used.system / transactions / 1000,
        }
    return measured


def big_result(endpoint, text):
    """One query with a result of some hundred megabytes, read and dropped by a plain socket."""
    client = Client(endpoint)
    before = machine.cpu(endpoint.pid) if endpoint.pid else None
    began = time.monotonic()
    received = client.query(text)
    seconds = time.monotonic() - began
    measured = {"mb_per_second": received / 1e6 / seconds}
    if endpoint.pid:
        measured["cpu_ms_per_gb"] = (machine.cpu(endpoint.pid) - before).total / received * 1e3
    client.socket.close()
    return measured


def number(pattern, result):
    """A figure of pgbench's report."""
    found = re.search(pattern, result.stdout)
    if result.returncode != 0 or not found or float(found[1]) == 0:
        raise StartError(f"pgbench failed:\n{result.stdout}{result.stderr}")
    return float(found[1])


def system_calls(postgres, endpoint, clients):
    """System calls per query by name: the difference of a long and a short run, so that logins drop out."""
    short = traced(postgres, endpoint, clients, STRACE_QUERIES)
    long = traced(postgres, endpoint, clients, 2 * STRACE_QUERIES)
    per_query = {name: (count - short.get(name, 0)) / STRACE_QUERIES for name, count in long.items()}
    return {name: round(count, 3) for name, count in sorted(per_query.items()) if abs(count) >= 0.002}


def traced(postgres, endpoint, clients, queries):
    """System calls of the proxy while pgbench makes that many queries."""
    report = postgres.base / "strace.txt"
    command = ["strace", "-c", "-f", "-U", "calls,name", "-o", report, "-p", str(endpoint.pid)]
    strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        # It says "attached" when it counts.
        strace.stderr.readline()
        time.sleep(0.2)
        result = postgres.pgbench(endpoint.port, "-n", "-S", "-c", clients, "-j", 1, "-t", queries // clients)
        number(r"tps = ([\d.]+)", result)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
    rows = (line.split() for line in report.read_text().splitlines())
    return {row[1]: int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit() and row[1] != "total"}


def user_instructions(postgres, make_endpoint, mode):
    """Instructions per query in user space, one client: of a long run less those of a short one, under callgrind.

    Nothing else on the machine disturbs this figure, so it tells apart what a run of seconds can't.
    """
    counts = []
    for queries in (CALLGRIND_QUERIES, 3 * CALLGRIND_QUERIES):
        counted = postgres.base / "callgrind.out"
        endpoint = make_endpoint()
        endpoint.command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counted}", *endpoint.command]
        with endpoint:
            result = postgres.pgbench(endpoint.port, "-n", "-S", "-M", mode, "-c", 1, "-j", 1, "-t", queries)
            number(r"tps = ([\d.]+)", result)
        total = re.search(r"^(?:totals|summary): (\d+)", counted.read_text(), re.MULTILINE)
        counts.append(int(total[1]))
        counted.unlink()
    return round((counts[1] - counts[0]) / (2 * CALLGRIND_QUERIES))


def over_tls(plain):
    """The socket after SSLRequest and handshake; the certificate is nobody's."""
    plain.sendall((8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"))
    if plain.recv(1) != b"S":
        raise StartError("the proxy has no TLS")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


class Client:
    """A session over a plain socket: less memory and time than a driver of its own for each of hundreds."""

    def __init__(self, endpoint):
        self.socket = socket.create_connection(("127.0.0.1", endpoint.port), timeout=30)
        if endpoint.sslmode != "disable":
            self.socket = over_tls(self.socket)
        body = (3 << 16).to_bytes(4, "big") + b"user\0postgres\0database\0postgres\0\0"
        self.socket.sendall((len(body) + 4).to_bytes(4, "big") + body)
        self.wait_until_ready()

    def query(self, text):
        """Runs one simple query and drops its result, of which the bytes are returned."""
        body = text.encode() + b"\0"
        self.socket.sendall(b"Q" + (len(body) + 4).to_bytes(4, "big") + body)
        return self.wait_until_ready()

    def wait_until_ready(self):
        """Reads up to ReadyForQuery outside a transaction; returns the number of bytes."""
        last, count = b"", 0
        while not last.endswith(b"Z\0\0\0\5I"):
            chunk = self.socket.recv(262144)
            if not chunk:
                raise StartError(f"the session was closed: {last!r}")
            last, count = (last + chunk[-200:])[-200:], count + len(chunk)
        return count


def run_requests(endpoint, count):
    """Runs requests of one statement each over one session."""
    client = Client(endpoint)
    for number in range(count):
        client.query(f"SELECT abalance FROM pgbench_accounts WHERE aid = 1 /*request_id='{number}'*/")
    client.socket.close()


def idle_sessions(endpoint, counts):
    """Resident KiB of a proxy: fresh, used, and with so many idle sessions that have run one query each.

    What a proxy keeps once, however many sessions it has, is there before they come: parsers, tables, the latest
    requests.
    """
    time.sleep(SETTLE_SECONDS)
    resident = {"empty": machine.resident_kib(endpoint.pid)}
    run_requests(endpoint, USED_REQUESTS)
    time.sleep(SETTLE_SECONDS)
    resident["used"] = machine.resident_kib(endpoint.pid)
    clients = []
    try:
        for count in counts:
            while len(clients) < count:
                clients.append(Client(endpoint))
                clients[-1].query(f"SELECT abalance FROM pgbench_accounts WHERE aid = {len(clients)}")
            time.sleep(SETTLE_SECONDS)
            resident[count] = machine.resident_kib(endpoint.pid)
        before = machine.cpu(endpoint.pid).total
        time.sleep(IDLE_CPU_SECONDS)
        idle_ns = machine.cpu(endpoint.pid).total - before
    finally:
        for client in clients:
            client.socket.close()
    low, high = counts[0], counts[-1]
    return {
        "resident_kib": resident,
        "kib_per_session": (resident[high] - resident["used"]) / high,
        "kib_per_further_session": (resident[high] - resident[low]) / (high - low) if high > low else None,
        "idle_cpu_percent": idle_ns / 1e7 / IDLE_CPU_SECONDS,
    }
