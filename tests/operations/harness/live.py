"""pgtally's demo under load, and the Prometheus and Alertmanager that watch it."""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

from . import sources
from .expressions import shortened
from .wire import Session

START_SECONDS = 60
PAGES = [
    ("GET", "/work-items"), ("GET", "/work-items/fixed"), ("GET", "/teams/breakdown"), ("GET", "/export"),
    ("GET", "/profile"), ("GET", "/profile/fixed"), ("POST", "/work-items"), ("POST", "/contacts/import"),
    ("GET", "/reports/slow"), ("GET", "/reports/slow/fixed"),
]
# One more than a route has slots.
ROUTES = 101


class LiveError(Exception):
    """Something did not start."""


def free_port():
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url, method="GET"):
    """The body of an answer."""
    request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def await_url(url, program):
    """Waits until something answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return fetch(url)
        except (OSError, urllib.error.URLError) as error:
            if program.process.poll() is not None or time.monotonic() > deadline:
                log = program.log.read_text()[-1000:]
                raise LiveError(f"{program.name} does not answer: {error}\n{log}") from error
            time.sleep(0.2)


class Program:
    """A child process with its output in a file, ended with the test."""

    def __init__(self, name, folder, *command, **environment):
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
                env=os.environ | environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Demo(Program):
    """`pgtally demo`: PostgreSQL, the proxy and the sample application."""

    WORDS = {
        "postgres": re.compile(r"postgres \S+ on \S*:(\d+)"),
        "port": re.compile(r"proxy on \S*:(\d+)"),
        "admin": re.compile(r"api (http://[^/\s]+)/"),
        "application": re.compile(r"sample application on (http://[^/\s]+)/"),
    }

    def __init__(self, pgtally, folder):
        super().__init__("demo", folder, pgtally, "demo")
        deadline = time.monotonic() + START_SECONDS
        found = {}
        while len(found) < len(self.WORDS):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise LiveError(f"the demo did not start: {self.log.read_text()[-1000:]}")
            time.sleep(0.1)
            text = self.log.read_text()
            found = {name: match[1] for name, word in self.WORDS.items() if (match := word.search(text))}
        self.postgres = int(found["postgres"])
        self.port = int(found["port"])
        self.admin = found["admin"]
        self.application = found["application"]

    def metrics(self):
        """One scrape."""
        return fetch(f"{self.admin}/metrics")


class Serve(Program):
    """Another pgtally in front of the demo's PostgreSQL, with settings that the demo's does not have."""

    def __init__(self, name, pgtally, folder, demo, **settings):
        self.port = free_port()
        self.admin = f"http://127.0.0.1:{free_port()}"
        settings |= {
            "RELAY__LISTEN": f"127.0.0.1:{self.port}",
            "RELAY__UPSTREAM": f"127.0.0.1:{demo.postgres}",
            "ADMIN__LISTEN": self.admin.removeprefix("http://"),
        }
        super().__init__(
            name, folder, pgtally, "serve", **{f"PGTALLY__{path}": value for path, value in settings.items()})
        await_url(f"{self.admin}/readyz", self)

    def metrics(self):
        """One scrape."""
        return fetch(f"{self.admin}/metrics")


def edge(pgtally, folder, demo):
    """A pgtally with TLS, a limit, a prober, and baselines that are learned in seconds."""
    certificate, key = folder / "edge.crt", folder / "edge.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return Serve(
        "edge", pgtally, folder, demo, RELAY__TARGET_SESSION_ATTRS="primary", PROBE__USER="postgres",
        LIMITS__MAX_SESSIONS="1", BASELINES__WINDOW="2s", CACHE__ENABLED="on", INSPECT__USER="postgres",
        BASELINES__MIN_REQUESTS="2", BASELINES__STATE_FILE=str(folder / "baselines.json"), TLS__CLIENT_TLS="allow",
        TLS__CERTIFICATE=str(certificate), TLS__KEY=str(key))


def gate(pgtally, folder, demo):
    """A pgtally that checks passwords itself."""
    salt, salted = b"salt", hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 4096)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt, stored, server = (base64.b64encode(part).decode() for part in (salt, stored, server))
    users = folder / "users.txt"
    users.write_text(f'"postgres" "SCRAM-SHA-256$4096:{salt}${stored}:{server}"\n')
    return Serve("gate", pgtally, folder, demo, AUTH__MODE="terminate", AUTH__AUTH_FILE=str(users))


# Statements that the cache serves, forgets, gives up by age, and passes on.
CACHED = [
    "SELECT count(*) FROM users /*pgtally_cache='ttl%3D1s%3Btags%3Duser'*/",
    "SELECT count(*) FROM users /*pgtally_cache='ttl%3D1s%3Btags%3Duser'*/",
    "SELECT count(*) FROM posts /* pgtally:cache tags=post */",
    "UPDATE posts SET title = title WHERE id = 1",
    "SELECT count(*) FROM posts /* pgtally:cache tags=post */",
    "SELECT random() FROM posts LIMIT 1 /* pgtally:cache */",
]


class Load:
    """Visits pages, and does now and then what no page does, until told to end."""

    def __init__(self, demo, edge_port, gate_port):
        self.demo = demo
        self.edge_port = edge_port
        self.gate_port = gate_port
        self.ending = threading.Event()
        self.problems = []
        works = (self._visit, self._oddities)
        self.threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def _guarded(self, work):
        try:
            work()
        except Exception as error:  # pylint: disable=broad-except; reported as a failed check
            self.problems.append(f"{work.__name__}: {error!r}")

    def _visit(self):
        while not self.ending.is_set():
            for method, path in PAGES:
                if not self.ending.wait(0.05):
                    fetch(self.demo.application + path, method)

    def _oddities(self):
        self._many_routes()
        while not self.ending.is_set():
            with Session(self.demo.port) as session:
                session.query("SELECT 1/0 /*route='/broken'*/")
                session.query("BEGIN")
                session.query("SELECT count(*) FROM posts")
                session.query("COMMIT")
                session.cancelled("SELECT pg_sleep(10)")
            with Session(self.demo.port, replication="database") as session:
                session.query("IDENTIFY_SYSTEM")
            self._at_the_edge()
            self.ending.wait(0.5)

    def _at_the_edge(self):
        with Session(self.edge_port, tls=True) as session:
            session.query(f"SELECT count(*) FROM posts /*request_id='{time.monotonic_ns()}',route='/edge'*/")
            refused(self.edge_port)
            for text in CACHED:
                session.query(text)
        refused(self.gate_port)

    def _many_routes(self):
        with Session(self.demo.port) as session:
            for number in range(ROUTES * 3):
                trace = f"00-{number + 1:032x}-{number + 1:016x}-01"
                session.query(f"SELECT {number} AS n /*route='/many/{number % ROUTES}',traceparent='{trace}'*/")


def refused(port):
    """Begins a session that must not come about."""
    try:
        Session(port)
    except ConnectionError:
        return
    raise LiveError("a session was not refused")


class Receiver:
    """Takes what Alertmanager sends."""

    def __init__(self):
        received = self.received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):  # pylint: disable=invalid-name; the base class calls it so
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                received.extend((self.path, alert) for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_port}"


class Alertmanager(Program):
    """The shipped configuration, with our receiver and without the wait for more alerts of a group."""

    def __init__(self, tools, folder, receiver):
        config = yaml.safe_load((sources.GRAFANA / "alertmanager.yaml").read_text())
        config["route"]["group_wait"] = "0s"
        for target in config["receivers"]:
            for hook in target.get("webhook_configs", []):
                hook["url"] = f"{receiver.url}/{target['name']}"
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
        self.port = free_port()
        super().__init__(
            "alertmanager", folder, tools.alertmanager, "--config.file=alertmanager.yaml",
            "--storage.path=alertmanager", f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=")
        await_url(f"http://127.0.0.1:{self.port}/-/ready", self)


class Prometheus(Program):
    """The shipped configuration and rules, scraping every second."""

    def __init__(self, tools, folder, targets, alertmanager):
        config = yaml.safe_load((sources.GRAFANA / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}]
        scrape = config["scrape_configs"][0]
        scrape["scrape_timeout"] = "1s"
        scrape["static_configs"] = [{"targets": [target.admin.removeprefix("http://") for target in targets]}]
        rules = folder / "alerts"
        shutil.rmtree(rules, ignore_errors=True)
        rules.mkdir()
        for path in sources.RULES:
            written = yaml.safe_load(path.read_text())
            for group in written["groups"]:
                group.pop("interval", None)
                for rule in group["rules"]:
                    rule["expr"] = shortened(rule["expr"])
            (rules / path.name).write_text(yaml.safe_dump(written))
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        super().__init__(
            "prometheus", folder, tools.prometheus, "--config.file=prometheus.yaml", "--storage.tsdb.path=tsdb",
            f"--web.listen-address={self.url.removeprefix('http://')}")
        await_url(f"{self.url}/-/ready", self)

    def query(self, expression):
        """The values of an instant query; raises ValueError on what Prometheus refuses."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            answer = json.loads(fetch(address))
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error
        return [float(series["value"][1]) for series in answer["data"]["result"]]
