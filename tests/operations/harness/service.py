"""The systemd units and the Debian package."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

from . import sources
from .check import Check
from .live import free_port
from .program import environment, run
from .wire import TLS

UNITS = sources.ROOT / "deploy" / "systemd"
# Of 10; what is left is the network, which a proxy needs.
EXPOSURE_MAX = 1.5
WAIT_SECONDS = 10
# Installs a package in a copy-on-write view of this machine that vanishes with its namespace, then purges it.
INSTALL = """
set -e
mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" "$1/merged"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/merged"
mount -t proc proc "$1/merged/proc"
mount --rbind /dev "$1/merged/dev"
cp "$2" "$1/merged/tmp/pgtally.deb"
chroot "$1/merged" sh -ec '
    dpkg --install /tmp/pgtally.deb
    pgtally check-config --config /etc/pgtally/pgtally.toml
    systemd-analyze verify /lib/systemd/system/pgtally.service /lib/systemd/system/pgtally.socket
    pgtally serve --config /etc/pgtally/pgtally.toml --listen "127.0.0.1:$1" --admin "127.0.0.1:$2" &
    python3 -c "$3" "http://127.0.0.1:$2/livez"
    kill $! && wait $!
    echo "# mine" >>/etc/pgtally/pgtally.toml
    dpkg --remove pgtally
    test ! -e /usr/bin/pgtally
    grep -q "# mine" /etc/pgtally/pgtally.toml
    dpkg --purge pgtally
    test ! -e /etc/pgtally
' sh "$3" "$4" "$5"
"""
# Asks until it is answered.
ASK = r"""
import sys, time, urllib.request
for attempt in range(100):
    try:
        sys.exit(urllib.request.urlopen(sys.argv[1], timeout=5).read() != b"ok\n")
    except OSError:
        time.sleep(0.1)
sys.exit("nobody answers")
"""


def checks(pgtally, folder):
    """All of them."""
    yield from units(pgtally, folder)
    yield notifies(pgtally, folder)
    yield feeds_the_watchdog(pgtally, folder)
    yield feeds_the_watchdog_over_an_upgrade(pgtally, folder)
    if shutil.which("systemd-socket-activate"):
        yield is_activated(pgtally)
    yield from package(pgtally, folder)


def units(pgtally, folder):
    """systemd's own checks."""
    if not shutil.which("systemd-analyze"):
        print("--    no systemd-analyze here: units are not checked", flush=True)
        return
    for unit in UNITS.iterdir():
        (folder / unit.name).write_text(unit.read_text().replace("/usr/bin/pgtally", str(pgtally)))
    paths = [folder / "pgtally.service", folder / "pgtally.socket"]
    yield run("systemd-analyze verify", "systemd-analyze", "verify", *paths)
    # Older versions of it print a number, but cannot be asked for a threshold of an uninstalled unit.
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", paths[0]], capture_output=True, text=True)
    level = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    is_low = level is not None and float(level[1]) <= EXPOSURE_MAX
    yield Check(f"systemd-analyze security says {EXPOSURE_MAX} or less", is_low, done.stdout[-300:] + done.stderr)


class Notified:
    """What a service says to its manager."""

    def __init__(self, folder, name="notify"):
        self.path = str(folder / name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(WAIT_SECONDS)

    def next(self):
        """The next state, such as READY=1."""
        return self.socket.recv(4096).decode().splitlines()[0]

    def awaited(self, beginning):
        """The next state that begins like this; others are passed over."""
        while not (said := self.next()).startswith(beginning):
            pass
        return said

    def forget(self):
        """Drops what was said and not asked for."""
        self.socket.settimeout(0.1)
        try:
            while True:
                self.next()
        except TimeoutError:
            self.socket.settimeout(WAIT_SECONDS)


def notifies(pgtally, folder):
    """Ready when clients can connect, reloading and ready again, stopping."""
    notified = Notified(folder)
    port = free_port()
    process = subprocess.Popen(
        [pgtally, "serve", "--upstream", "127.0.0.1:1", "--listen", f"127.0.0.1:{port}", "--admin", "off"],
        env=environment(NOTIFY_SOCKET=notified.path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    said = []
    try:
        said.append(notified.next())
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS).close()
        process.send_signal(signal.SIGHUP)
        said += [notified.next(), notified.next()]
        process.terminate()
        said.append(notified.next())
        code = process.wait(WAIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("systemd is told", False, f"{said}, then {error}")
    finally:
        process.kill()
    expected = ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    return Check("systemd is told when it is ready, reloads and stops", (said, code) == (expected, 0), f"{said}, {code}")


def feeds_the_watchdog(pgtally, folder):
    """A manager with a watchdog hears again and again that pgtally lives, and nothing once it stands still."""
    notified = Notified(folder, "watchdog")
    process = subprocess.Popen(
        [pgtally, "serve", "--upstream", "127.0.0.1:1", "--listen", f"127.0.0.1:{free_port()}", "--admin", "off"],
        # The process that was started first is another one after an upgrade.
        env=environment(NOTIFY_SOCKET=notified.path, WATCHDOG_USEC="300000", WATCHDOG_PID="1"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    said = []
    try:
        said = [notified.next() for _ in range(4)]
        process.send_signal(signal.SIGSTOP)
        notified.forget()
        notified.socket.settimeout(1)
        said.append(notified.next())
    except TimeoutError:
        said.append("nothing")
    finally:
        process.kill()
    expected = (["READY=1"] + 3 * ["WATCHDOG=1"], ["nothing"])
    return Check("systemd's watchdog is fed while pgtally turns", (sorted(said[:4]), said[4:]) == expected, str(said))


def feeds_the_watchdog_over_an_upgrade(pgtally, folder):
    """The manager hears who its main process is now, and of that one that it lives, for as long as it turns."""
    notified = Notified(folder, "upgrade")
    process = subprocess.Popen(
        [pgtally, "serve", "--upstream", "127.0.0.1:1", "--listen", f"127.0.0.1:{free_port()}", "--admin", "off"],
        env=environment(NOTIFY_SOCKET=notified.path, WATCHDOG_USEC="300000"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    said, successor = [], None
    try:
        said.append(notified.awaited("READY=1"))
        process.send_signal(signal.SIGUSR2)
        successor = int(notified.awaited("MAINPID=").partition("=")[2])
        process.wait(WAIT_SECONDS)
        notified.forget()
        said += [notified.next() for _ in range(3)]
        os.kill(successor, signal.SIGSTOP)
        notified.forget()
        notified.socket.settimeout(1)
        said.append(notified.next())
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        said.append("nothing" if isinstance(error, TimeoutError) else str(error))
    finally:
        process.kill()
        if successor is not None:
            os.kill(successor, signal.SIGKILL)
    is_right = said == ["READY=1"] + 3 * ["WATCHDOG=1"] + ["nothing"] and successor != process.pid
    return Check("systemd's watchdog is fed by the successor after an upgrade", is_right, f"{said}, {successor}")


def is_activated(pgtally):
    """A client that comes before pgtally waits for it, and is served."""
    port = free_port()
    process = subprocess.Popen(
        ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", "--setenv=PGTALLY__RELAY__UPSTREAM=127.0.0.1:1",
         pgtally, "serve", "--admin", "off"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    answer = b""
    try:
        # It says when it listens.
        process.stderr.readline()
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as client:
            client.sendall(struct.pack(">ii", 8, TLS))
            answer = client.recv(1)
    except OSError as error:
        answer = error
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)
    return Check("a client of systemd's socket starts pgtally and is served", answer == b"N", repr(answer))


def may_mount():
    """Whether this process may mount: root may, outside of most containers."""
    try:
        done = subprocess.run(
            ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def package(pgtally, folder):
    """The Debian package can be made, installed, used, removed and purged."""
    started = time.monotonic()
    # Packing a debug build tightly takes longer than everything else here.
    quick = environment(DPKG_DEB_COMPRESSOR_TYPE="none")
    built = run("the Debian package is made", sources.ROOT / "deploy" / "debian" / "build.sh", pgtally, folder, env=quick)
    yield built
    if not built.ok:
        return
    deb = next(folder.glob("pgtally_*.deb"))
    view = folder / "view"
    view.mkdir()
    if may_mount():
        yield run(f"the package installs, serves, and goes without a trace ({time.monotonic() - started:.0f} s)",
                  "unshare", "--mount", "sh", "-c", INSTALL, "sh", view, deb, free_port(), free_port(), ASK)
    else:
        yield run("the package unpacks", "dpkg-deb", "--extract", deb, view)
        config = view / "etc" / "pgtally" / "pgtally.toml"
        yield run("the packaged program works", view / "usr" / "bin" / "pgtally", "check-config", "--config", config)
