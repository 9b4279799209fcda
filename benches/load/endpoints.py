"""What stands between pgbench and PostgreSQL: nothing, the peers, pgtally, and a bare relay."""

import shutil
import subprocess

from postgres import StartError, free_port, spawn, wait_for

PGBOUNCER_INI = """\
[databases]
postgres = host=127.0.0.1 port={upstream} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = session
max_client_conn = 2000
default_pool_size = 550
log_connections = 0
log_disconnections = 0
ignore_startup_parameters = extra_float_digits
"""

HAPROXY_CFG = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend clients
    bind 127.0.0.1:{port}
    default_backend postgresql
backend postgresql
    server one 127.0.0.1:{upstream}
"""


class Endpoint:
    """A port to connect to, and the process behind it (none for PostgreSQL itself). Use as a context manager."""

    def __init__(self, name, postgres, command=None, account=None, configuration=None):
        self.name = name
        self.port = free_port() if command else postgres.port
        self.directory = postgres.base
        self.upstream = postgres.port
        self.command = command
        self.account = account
        self.configuration = configuration
        self.process = None

    @property
    def pid(self):
        """Process id of the proxy; None for PostgreSQL itself."""
        return self.process.pid if self.process else None

    def __enter__(self):
        if not self.command:
            return self
        ports = {"port": self.port, "upstream": self.upstream}
        file = self.directory / f"{self.name}.conf"
        if self.configuration:
            file.write_text(self.configuration.format(**ports))
        command = [str(part).format(file=file, **ports) for part in self.command]
        log = self.directory / f"{self.name}.log"
        with log.open("w") as sink:
            self.process = spawn(command, self.directory, self.account, stdout=sink, stderr=sink)
        try:
            wait_for(self.port, self.process, log)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def program(name):
    """Path of an installed program; Debian's administration programs are not on everybody's path."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not path:
        raise StartError(f"{name} is missing: install it, or leave it out with --endpoints")
    return path


def pgtally(binary, analysis):
    """Command of pgtally with one worker, as the peers have."""
    return [
        binary, "serve", "--upstream", "127.0.0.1:{upstream}", "--listen", "127.0.0.1:{port}",
        "--admin", f"127.0.0.1:{free_port()}", "--workers", "1", "--analysis", analysis,
    ]


NAMES = ["direct", "pgbouncer", "haproxy", "floor", "pgtally-off", "pgtally"]


def make(name, postgres, binary, floor):
    """The endpoint of that name, not started."""
    if name == "direct":
        return Endpoint(name, postgres)
    if name == "pgbouncer":
        # It refuses to run as root.
        return Endpoint(name, postgres, [program(name), "{file}"], postgres.account, PGBOUNCER_INI)
    if name == "haproxy":
        return Endpoint(name, postgres, [program(name), "-db", "-f", "{file}"], None, HAPROXY_CFG)
    if name == "floor":
        return Endpoint(name, postgres, [floor, "127.0.0.1:{port}", "127.0.0.1:{upstream}"])
    return Endpoint(name, postgres, pgtally(binary, "off" if name == "pgtally-off" else "on"))
