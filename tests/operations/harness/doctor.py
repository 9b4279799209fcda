"""`pgtally doctor` beside a running pgtally, and where something is wrong."""

import subprocess

from .check import Check
from .live import free_port
from .program import environment


def checks(pgtally, demo):
    """All of them."""
    upstream, admin = f"127.0.0.1:{demo.postgres}", demo.admin.removeprefix("http://")
    nobody = f"127.0.0.1:{free_port()}"

    def check(name, code, words, **settings):
        flags = [word for flag, value in settings.items() for word in ([f"--{flag}", value] if value else [f"--{flag}"])]
        done = subprocess.run([pgtally, "doctor", *flags], env=environment(), capture_output=True, text=True)
        output = done.stdout + done.stderr
        is_right = done.returncode == code and all(word in output for word in words)
        return Check(f"doctor: {name}", is_right, f"exit code {done.returncode}\n{output}")

    yield check("all is well, and traffic passed", 0, ["it is PostgreSQL", "ready", "statements on", "ok    open files"],
                upstream=upstream, admin=admin)
    yield check("nobody is upstream", 1, [f"FAIL  upstream {nobody}"], upstream=nobody, admin=admin)
    yield check("what is upstream is no PostgreSQL", 1, [f"FAIL  upstream {admin}"], upstream=admin, admin="off")
    yield check("the running one is ready", 0, ["ready"], running="", admin=admin)
    yield check("none is running", 1, ["FAIL"], running="", admin=nobody)
    yield check("the configuration is of no use", 64, ["relay.workers"], workers="none")
