"""The container images: built by buildah from the repository's Dockerfiles, and run as Docker would.

No registry is needed: the stage that compiles is replaced by the binary under test, and the base of the last stage by
this machine's C library. What the last stage itself says is built and run as it stands, in a store of its own that
vanishes.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import sources
from .check import Check
from .live import free_port
from .program import environment
from .service import may_mount

DEPLOY = sources.ROOT / "deploy"
WAIT_SECONDS = 20
SHELLS = ("bin/sh", "usr/bin/sh", "bin/bash", "busybox")


def checks(pgtally, folder):
    """All of them."""
    if not shutil.which("buildah") or not may_mount():
        print("--    no buildah here, or nobody may mount: images are not built", flush=True)
        return
    context = folder / "images"
    lay(pgtally, context)
    buildah = Buildah(folder / "store")
    try:
        for name in ("Dockerfile", "Dockerfile.static"):
            yield image(buildah, name, context)
    finally:
        buildah.run("rm", "--all")


def lay(pgtally, context):
    """What the stages get from elsewhere: the compiler's result, and the libraries of a base."""
    program = context / "image" / "usr" / "bin" / "pgtally"
    program.parent.mkdir(parents=True)
    subprocess.run(["strip", "--strip-debug", "-o", program, pgtally], check=True)
    settings = context / "image" / "etc" / "pgtally"
    settings.mkdir(parents=True)
    shutil.copy(DEPLOY / "docker" / "pgtally.toml", settings)
    asked = subprocess.run(["ldd", pgtally], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(0x", asked):
        copy = context / "base" / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copy)


def last_stage(name):
    """The last stage of a Dockerfile, with what it takes from elsewhere taken from the context."""
    text = (DEPLOY / name).read_text()
    stage = text[text.rindex("\nFROM ") + 1:]
    stage, bases = re.subn(r"\AFROM .*\n", "FROM scratch\nCOPY base /\n", stage)
    stage, copies = re.subn(r"^COPY --from=build /image /$", "COPY image /", stage, flags=re.MULTILINE)
    if (bases, copies) != (1, 1):
        raise ValueError(f"{name} takes its files from elsewhere")
    return stage


class Buildah:
    """buildah with a store of its own."""

    def __init__(self, store):
        # The driver that needs nothing of the file system below.
        self.command = ["buildah", "--storage-driver", "vfs", "--root", str(store / "root"), "--runroot", str(store / "run")]

    def run(self, *words, **options):
        """A finished command."""
        return subprocess.run([*self.command, *map(str, words)], capture_output=True, text=True, check=False, **options)

    def output(self, *words, **options):
        """What a command says that must succeed."""
        done = self.run(*words, **options)
        if done.returncode != 0:
            raise OSError(f"buildah {words[0]}: {done.stdout}{done.stderr}"[-3000:])
        return done.stdout.strip()

    def start(self, container, settings, command):
        """Starts a command in a container, in a process group of its own."""
        words = [word for item in settings.items() for word in ("--env", "=".join(item))]
        return subprocess.Popen(
            [*self.command, "run", "--isolation", "chroot", *words, container, "--", *command], env=environment(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def image(buildah, name, context):
    """An image is built, says what Docker asks it, runs as nobody without a shell, finds itself healthy and drains."""
    started = time.monotonic()
    try:
        tag = f"pgtally-{name.lower()}"
        buildah.output("bud", "--isolation", "chroot", "--format", "docker", "--tag", tag, "--file", "-", context,
                       input=last_stage(name))
        told = json.loads(buildah.output("inspect", "--type", "image", tag))["Docker"]["config"]
        container = buildah.output("from", tag)
        found = lived(buildah, container, told)
    except (KeyError, OSError, ValueError) as error:
        return Check(f"{name} is built and run", False, repr(error))
    expected = {"user": "65532:65532", "uid": 65532, "shells": [], "healthy": True, "code": 0}
    is_right = expected.items() <= found.items()
    return Check(f"{name} is built by buildah, and its image is healthy ({time.monotonic() - started:.0f} s)", is_right, found)


def lived(buildah, container, told):
    """One life of a container, by what its image tells."""
    root = Path(buildah.output("mount", container))
    found = {"user": told["User"], "shells": [name for name in SHELLS if (root / name).exists()]}
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        settings = {"PGTALLY__RELAY__LISTEN": f"127.0.0.1:{free_port()}",
                    "PGTALLY__RELAY__UPSTREAM": f"127.0.0.1:{upstream.getsockname()[1]}",
                    "PGTALLY__ADMIN__LISTEN": f"127.0.0.1:{free_port()}"}
        serving = buildah.start(container, settings, told["Entrypoint"] + told["Cmd"])
        try:
            found["healthy"] = is_healthy(buildah, container, settings, told["Healthcheck"]["Test"][1:], serving)
            program = main_process(serving.pid)
            found["uid"] = Path(f"/proc/{program}").stat().st_uid
            os.kill(program, signal.SIGTERM)
            found["code"] = serving.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            found["code"] = "still running"
        finally:
            if serving.poll() is None:
                os.killpg(serving.pid, signal.SIGKILL)
            found["said"] = serving.communicate()[0][-2000:]
    return found


def is_healthy(buildah, container, settings, test, serving):
    """Whether the image's own health check succeeds before the time or the program is over."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and serving.poll() is None:
        checking = buildah.start(container, settings, test)
        checking.communicate(timeout=WAIT_SECONDS)
        if checking.returncode == 0:
            return True
        time.sleep(0.2)
    return False


def main_process(session):
    """The pgtally among the processes of a session."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(process.name)) == session and process.joinpath("exe").readlink().name == "pgtally":
                return int(process.name)
        except OSError:
            # It is gone.
            continue
    raise OSError("no pgtally runs in the container")
