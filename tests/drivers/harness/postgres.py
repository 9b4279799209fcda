"""A throwaway PostgreSQL that logs every statement; removed again unless something failed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_SECONDS = 30

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "log_statement": "all",
    "log_destination": "csvlog",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "server.log",
    "log_rotation_size": "0",
    "log_rotation_age": "0",
    "log_file_mode": "0644",
    "log_timezone": "UTC",
    # Not the applications' time zone: they set theirs when they connect, as they do in production.
    "timezone": "Europe/Berlin",
}


class StartError(Exception):
    """PostgreSQL could not be found or started; the text says why and what helps."""


def free_port():
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_binaries(directory):
    """The directory with `initdb` and `postgres`: the given one, else the environment's, else Debian's newest."""
    named = directory or os.environ.get("PGTALLY_PG_BIN")
    if named:
        candidates = [Path(named)]
    else:
        versions = Path("/usr/lib/postgresql").glob("*/bin")
        candidates = sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise StartError(f"no PostgreSQL server binaries in {named or '/usr/lib/postgresql'}: install Debian's postgresql")


def server_account():
    """The account to run the server as, or None for our own: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StartError("running as root and there is neither an account 'postgres' nor 'nobody'")


class Postgres:
    """A running server. Use as a context manager."""

    def __init__(self, binaries):
        self.binaries = binaries
        self.account = server_account()
        self.base = Path(tempfile.mkdtemp(prefix="pgtally-drivers-"))
        self.data = self.base / "data"
        self.port = free_port()
        self.process = None
        self.keep = False

    @property
    def log_path(self):
        """The csvlog file."""
        return self.data / "log" / "server.csv"

    @property
    def version(self):
        """Major version, such as 15."""
        return int((self.data / "PG_VERSION").read_text().strip())

    def url(self, port=None):
        """Connection URL, by another port to go through a proxy."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/postgres"

    def _run(self, *command, **options):
        if self.account:
            options |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        # The caller's directory need not be readable for the other account.
        return subprocess.Popen([str(part) for part in command], cwd=self.base, **options)

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(StartError, None, None)
            raise
        return self

    def _start(self):
        if self.account:
            os.chown(self.base, self.account.pw_uid, self.account.pw_gid)
        os.chmod(self.base, 0o755)
        output = self.base / "start.txt"
        with output.open("w") as sink:
            initdb = self._run(
                self.binaries / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                "--locale=C", "--no-sync", stdout=sink, stderr=sink,
            )
            if initdb.wait() != 0:
                raise StartError("initdb failed:\n" + output.read_text())
            settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
            self.process = self._run(
                self.binaries / "postgres", "-D", self.data, "-p", self.port, "-k", self.base, *settings,
                stdout=sink, stderr=sink,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise StartError("PostgreSQL did not start:\n" + output.read_text())
            time.sleep(0.05)

    def _answers(self):
        """Whether the server takes logins, asked by a startup packet of our own."""
        body = (3 << 16).to_bytes(4, "big") + b"user\0postgres\0application_name\0probe\0\0"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
                client.sendall((len(body) + 4).to_bytes(4, "big") + body)
                return client.recv(1) == b"R"
        except OSError:
            return False

    def __exit__(self, kind, value, trace):
        if self.process and self.process.poll() is None:
            # SIGQUIT is PostgreSQL's immediate shutdown: nothing here is worth a checkpoint.
            self.process.send_signal(3)
            self.process.wait()
        if kind or self.keep:
            print(f"the server's files are kept in {self.base}", flush=True)
        else:
            shutil.rmtree(self.base, ignore_errors=True)
