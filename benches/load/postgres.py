"""A throwaway PostgreSQL with pgbench's tables, set up for measuring proxies."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_SECONDS = 30

# Durability off and memory ample: what the server does beside answering would blur the proxies' share.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "1GB",
    "jit": "off",
    "autovacuum": "off",
    "log_checkpoints": "off",
}

CLIENT_ENVIRONMENT = {"PGGSSENCMODE": "disable", "PGUSER": "postgres", "PGDATABASE": "postgres"}


class StartError(Exception):
    """Something could not be found or started; the text says what, and what helps."""


def free_port():
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_binaries():
    """The directory with `postgres` and `pgbench`: PGTALLY_PG_BIN, else Debian's newest."""
    named = os.environ.get("PGTALLY_PG_BIN")
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    candidates = [Path(named)] if named else sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    for candidate in candidates:
        if all((candidate / program).exists() for program in ("initdb", "postgres", "pgbench")):
            return candidate
    raise StartError(f"no initdb, postgres and pgbench in {named or '/usr/lib/postgresql'}: install postgresql")


def unprivileged_account():
    """The account for programs that refuse to run as root, or None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StartError("running as root and there is neither an account 'postgres' nor 'nobody'")


def spawn(command, directory, account=None, **options):
    """Starts a program in a directory, as another account if one is given."""
    if account:
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    command = [str(part) for part in command]
    return subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, **options)


def accepts(port):
    """Whether somebody listens on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        return True
    except OSError:
        return False


def wait_for(port, process, log):
    """Waits until a started program listens."""
    deadline = time.monotonic() + START_SECONDS
    while not accepts(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"{process.args[0]} does not listen:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


class Postgres:
    """A running server with pgbench's tables. Use as a context manager; `base` serves as directory for all logs."""

    def __init__(self, scale, max_connections=600):
        self.binaries = find_binaries()
        self.account = unprivileged_account()
        self.scale = scale
        self.max_connections = max_connections
        self.base = Path(tempfile.mkdtemp(prefix="pgtally-load-"))
        self.port = free_port()
        self.process = None

    def __enter__(self):
        try:
            self._start()
            self._fill()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self):
        if self.account:
            os.chown(self.base, self.account.pw_uid, self.account.pw_gid)
        log = self.base / "postgres.log"
        data = self.base / "data"
        initdb = [self.binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--locale=C", "--no-sync"]
        with log.open("w") as sink:
            if spawn(initdb, self.base, self.account, stdout=sink, stderr=sink).wait() != 0:
                raise StartError("initdb failed:\n" + log.read_text())
            settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
            settings.append(f"--max_connections={self.max_connections}")
            server = [self.binaries / "postgres", "-D", data, "-p", self.port, "-k", self.base, *settings]
            self.process = spawn(server, self.base, self.account, stdout=sink, stderr=sink)
        wait_for(self.port, self.process, log)

    def _fill(self):
        """Makes the tables, and reads them into shared buffers so that no run pays for that."""
        # The port is open a moment before logins are.
        deadline = time.monotonic() + START_SECONDS
        while self.pgbench(self.port, "-i", "-q", "-s", self.scale).returncode != 0:
            if time.monotonic() > deadline:
                raise StartError("pgbench could not make its tables")
            time.sleep(0.2)
        self._client("psql", self.port, "-qAtX", "-c", "SELECT count(*) FROM pgbench_accounts").check_returncode()

    def pgbench(self, port, *arguments, sslmode="disable"):
        """Runs pgbench against a port to its end."""
        return self._client("pgbench", port, *arguments, sslmode=sslmode)

    def _client(self, program, port, *arguments, sslmode="disable"):
        command = [self.binaries / program, "-h", "127.0.0.1", "-p", port, *arguments]
        environment = os.environ | CLIENT_ENVIRONMENT | {"PGSSLMODE": sslmode}
        return subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)

    def __exit__(self, kind, value, trace):
        if self.process and self.process.poll() is None:
            # SIGQUIT is PostgreSQL's immediate shutdown: nothing here is worth a checkpoint.
            self.process.send_signal(3)
            self.process.wait()
        shutil.rmtree(self.base, ignore_errors=True)
