"""Running the binary with nothing of this machine's environment that it would read."""

import os
import subprocess

from .check import Check


def environment(**more):
    """This process's environment without pgtally's settings."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("PGTALLY__") and name not in ("DATABASE_URL", "NOTIFY_SOCKET")}
    return kept | more


def run(name, *command, cwd=None, env=None):
    """A check that is a program's success."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)
    return Check(name, done.returncode == 0, (done.stdout + done.stderr)[-3000:])


def check_config(pgtally, text=None, path=None, folder=None):
    """(exit code, output) of check-config for a file, or for a text that is written into one."""
    if text is not None:
        path = folder / "checked.toml"
        path.write_text(text)
    command = [str(pgtally), "check-config"] + (["--config", str(path)] if path else [])
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
