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
max_client_conn = 6000
default_pool_size = 5050
log_connections = 0
log_disconnections = 0
ignore_startup_parameters = extra_float_digits
"""
PGBOUNCER_TLS = """\
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {key}
"""

PGPOOL_CONF = """\
backend_clustering_mode = 'raw'
listen_addresses = '127.0.0.1'
port = {port}
pcp_port = {pcp_port}
unix_socket_directories = '{directory}'
pcp_socket_dir = '{directory}'
pid_file_name = '{directory}/pgpool.pid'
backend_hostname0 = '127.0.0.1'
backend_port0 = {upstream}
num_init_children = 40
max_pool = 1
connection_cache = off
load_balance_mode = off
enable_pool_hba = off
"""

HAPROXY_CFG = """\
global
    nbthread 1
    maxconn 6000
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

    def __init__(self, name, postgres, command=None, account=None, configuration=None, sslmode="disable"):
        self.name = name
        self.sslmode = sslmode
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
        ports = {"port": self.port, "upstream": self.upstream, "directory": self.directory, "pcp_port": free_port()}
        ports |= {"certificate": self.directory / "tls.crt", "key": self.directory / "tls.key"}
        if self.sslmode != "disable":
            make_certificate(ports["certificate"], ports["key"], self.account)
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


def make_certificate(certificate, key, account):
    """Makes a self-signed certificate, once, readable by whoever runs the proxy."""
    if certificate.exists():
        return
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        raise StartError(f"openssl could not make a certificate:\n{made.stderr}")
    if account:
        shutil.chown(key, account.pw_uid, account.pw_gid)


def program(name):
    """Path of an installed program; Debian's administration programs are not on everybody's path."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not path:
        raise StartError(f"{name} is missing: install it, or leave it out with --endpoints")
    return path


PGTALLY_TLS = """\
[tls]
client_tls = "require"
certificate = "{certificate}"
key = "{key}"
"""
PGTALLY_CACHE = """\
[cache]
enabled = "on"
[inspect]
user = "postgres"
"""


def pgtally(binary, analysis, *more):
    """Command of pgtally with one worker, as the peers have."""
    return [
        binary, "serve", "--upstream", "127.0.0.1:{upstream}", "--listen", "127.0.0.1:{port}",
        "--admin", f"127.0.0.1:{free_port()}", "--workers", "1", "--analysis", analysis, *more,
    ]


USUAL = ["direct", "pgbouncer", "haproxy", "floor", "pgtally-off", "pgtally"]
NAMES = [*USUAL, "pgbouncer-transaction", "pgpool", "pgbouncer-tls", "pgtally-tls", "pgtally-cache"]


def make(name, postgres, binary, floor):
    """The endpoint of that name, not started."""
    if name == "direct":
        return Endpoint(name, postgres)
    if name.startswith("pgbouncer"):
        # It refuses to run as root.
        settings = PGBOUNCER_INI.replace("session", "transaction") if name == "pgbouncer-transaction" else PGBOUNCER_INI
        is_tls = name == "pgbouncer-tls"
        command = [program("pgbouncer"), "{file}"]
        sslmode = "require" if is_tls else "disable"
        return Endpoint(name, postgres, command, postgres.account, settings + PGBOUNCER_TLS * is_tls, sslmode)
    if name == "pgpool":
        return Endpoint(name, postgres, [program(name), "-n", "-f", "{file}"], postgres.account, PGPOOL_CONF)
    if name == "pgtally-tls":
        command = pgtally(binary, "on", "--config", "{file}")
        return Endpoint(name, postgres, command, None, PGTALLY_TLS, "require")
    if name == "pgtally-cache":
        # On, and used by nobody.
        return Endpoint(name, postgres, pgtally(binary, "on", "--config", "{file}"), None, PGTALLY_CACHE)
    if name == "haproxy":
        return Endpoint(name, postgres, [program(name), "-db", "-f", "{file}"], None, HAPROXY_CFG)
    if name == "floor":
        return Endpoint(name, postgres, [floor, "127.0.0.1:{port}", "127.0.0.1:{upstream}"])
    return Endpoint(name, postgres, pgtally(binary, "off" if name == "pgtally-off" else "on"))
