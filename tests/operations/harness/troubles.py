"""What operators get wrong, and what machines do to them: each ends in words that say what to do, and nothing worse."""

import subprocess
import time
import urllib.error
import urllib.request

from .check import Check
from .live import free_port
from .program import environment
from .service import may_mount

WAIT_SECONDS = 20
# A file system without a free block, that only the program sees.
FULL = 'mount -t tmpfs -o size=64k tmpfs "$1" && { cat /dev/zero >"$1/filler" 2>/dev/null || :; } && shift && exec "$@"'


class Served:
    """A pgtally with its log in a file."""

    def __init__(self, pgtally, folder, name, before=(), **settings):
        self.port, self.admin = free_port(), free_port()
        self.log = folder / f"{name}.log"
        settings = {
            "RELAY__LISTEN": f"127.0.0.1:{self.port}", "ADMIN__LISTEN": f"127.0.0.1:{self.admin}",
            "RELAY__UPSTREAM": "127.0.0.1:1", "LOG__FORMAT": "text"} | settings
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*before, pgtally, "serve"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(**{f"PGTALLY__{path}": value for path, value in settings.items()}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def get(self, path):
        """(status, body) of an answer of the admin listener."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=WAIT_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def until(self, condition):
        """Whether the condition comes true before the time or the process is over."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                return condition()
            time.sleep(0.05)
        return True

    def serves(self):
        """Waits until it does."""
        return self.until(lambda: self.get("/livez")[0] == 200)

    def says(self, words):
        """Waits until the log has the words."""
        return self.until(lambda: words in self.log.read_text())


def checks(pgtally, folder):
    """All of them."""
    folder = folder / "troubles"
    folder.mkdir()
    yield from taken_ports(pgtally, folder)
    yield from unreadable_certificates(pgtally, folder)
    yield unreachable_upstream(pgtally, folder)
    yield shared_state_file(pgtally, folder)
    if may_mount():
        yield full_disk(pgtally, folder)
    else:
        print("--    this machine lets nobody mount: a full disk is not tried", flush=True)


def ended(served):
    """(exit code, log) of a program that does not start."""
    try:
        code = served.process.wait(WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        served.process.kill()
        code = "still running"
    return code, served.log.read_text()


def taken_ports(pgtally, folder):
    """A port that somebody has: said with the setting, and nothing half started stays."""
    with Served(pgtally, folder, "first") as first:
        first.serves()
        for name, setting, port in (("relay.listen", "RELAY__LISTEN", first.port), ("admin.listen", "ADMIN__LISTEN", first.admin)):
            with Served(pgtally, folder, f"second-{port}", **{setting: f"127.0.0.1:{port}"}) as second:
                code, log = ended(second)
            is_clear = code == 1 and name in log and f"127.0.0.1:{port}" in log and "in use" in log.lower()
            yield Check(f"a port in use is named ({name})", is_clear and first.get("/livez")[0] == 200, f"{code}: {log}")


def unreadable_certificates(pgtally, folder):
    """Something else than a certificate, or nothing: setting and file are named, and the exit code is the configuration's."""
    garbage, missing = folder / "garbage.pem", folder / "missing.pem"
    garbage.write_text("this is no certificate")
    for path, words in ((garbage, "holds no certificate"), (missing, "No such file")):
        wrong = {"TLS__CLIENT_TLS": "require", "TLS__CERTIFICATE": str(path), "TLS__KEY": str(missing)}
        with Served(pgtally, folder, path.stem, **wrong) as served:
            code, log = ended(served)
        is_clear = code == 64 and "tls.certificate" in log and str(path) in log and words in log
        yield Check(f"a certificate that cannot be used is named ({path.stem})", is_clear, f"{code}: {log}")


def unreachable_upstream(pgtally, folder):
    """Clients hear it in PostgreSQL's words, probes and metrics in theirs, and it starts all the same."""
    with Served(pgtally, folder, "upstream") as served:
        served.serves()
        ready, metrics = served.get("/readyz"), served.get("/metrics")[1]
        told = subprocess.run(
            ["psql", "-X", f"host=127.0.0.1 port={served.port} user=ann dbname=shop sslmode=disable"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=WAIT_SECONDS)
        is_clear = (ready[0], told.returncode) == (503, 2) and "FATAL" in told.stderr and "pgtally_upstream_up 0" in metrics
        return Check("an upstream that cannot be reached is told to everybody", is_clear, f"{ready} {told.stderr}")


def shared_state_file(pgtally, folder):
    """The second says whose the file is not, serves without it, and takes it over when the first is gone."""
    file = {"BASELINES__STATE_FILE": str(folder / "shared.json"), "BASELINES__WINDOW": "1s"}
    with Served(pgtally, folder, "owner", **file) as owner:
        owner.serves()
        with Served(pgtally, folder, "guest", **file) as guest:
            is_told = guest.serves() and guest.says("another pgtally uses it")
            is_counted = 'pgtally_baseline_saves_total{result="locked"} ' in guest.get("/metrics")[1]
            owner.process.terminate()
            owner.process.wait(WAIT_SECONDS)
            is_taken_over = guest.says("the file of baselines is ours now")
            detail = guest.log.read_text()
    return Check("two instances do not share a state file", is_told and is_counted and is_taken_over, detail)


def full_disk(pgtally, folder):
    """It serves all the same, says that it cannot write when it has to, and ends in good order."""
    place = folder / "full"
    place.mkdir()
    before = ("unshare", "--mount", "sh", "-c", FULL, "sh", str(place))
    with Served(pgtally, folder, "full-disk", before, BASELINES__STATE_FILE=str(place / "baselines.json")) as served:
        is_serving = served.serves()
        served.process.terminate()
        code, log = ended(served)
    is_told = "baselines cannot be written" in log and "No space left on device" in log
    return Check("a full disk is told, and costs nothing else", is_serving and is_told and code == 0, f"{code}: {log}")
