"""A running `pgtally serve` and its HTTP API."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from .postgres import free_port

READY_SECONDS = 15

# The environment's HTTP proxies have no say about loopback addresses.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ProxyError(Exception):
    """pgtally did not start, ended, or answered something else than JSON."""


class Proxy:
    """`pgtally serve` in front of a server. Use as a context manager."""

    def __init__(self, binary, upstream_url, log_path):
        self.port = free_port()
        self.admin_port = free_port()
        self.log_path = log_path
        self.command = [
            str(binary), "serve", "--upstream", upstream_url,
            "--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin_port}",
        ]
        self.process = None

    def __enter__(self):
        with self.log_path.open("w") as sink:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._http("GET", "/readyz")
                return self
            except (urllib.error.URLError, OSError) as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise ProxyError(f"pgtally is not ready: {error}\n{self.log_path.read_text()}") from error
                time.sleep(0.05)

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def is_alive(self):
        """Whether the process runs."""
        return self.process.poll() is None

    def _http(self, method, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", method=method)
        with OPENER.open(request, timeout=10) as answer:
            return answer.read().decode()

    def requests(self):
        """`requests[]` of the API, oldest first."""
        answer = json.loads(self._http("GET", "/api/v1/requests?limit=1000"))
        if not answer.get("complete", False):
            raise ProxyError("pgtally says that its observations are incomplete")
        return answer["requests"]

    def findings(self):
        """`findings[]` of the API."""
        return json.loads(self._http("GET", "/api/v1/findings"))["findings"]

    def cache(self):
        """What the cache has done."""
        return json.loads(self._http("GET", "/api/v1/cache"))

    def explain(self, sql):
        """What a statement reads and writes; waits until the definitions are known."""
        query = urllib.parse.urlencode({"database": "postgres", "sql": sql})
        return json.loads(self._http("GET", f"/api/v1/cache/explain?{query}"))

    def blind_sessions(self):
        """Sessions that pgtally has stopped observing, from its metrics."""
        total = 0.0
        for line in self._http("GET", "/metrics").splitlines():
            if line.startswith("pgtally_sessions_blind_total"):
                total += float(line.rsplit(" ", 1)[1])
        return int(total)

    def reset(self):
        """Forgets findings and requests."""
        self._http("POST", "/api/v1/reset")
