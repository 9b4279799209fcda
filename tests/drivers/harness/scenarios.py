"""The applications, each with the command that runs it."""

from collections import namedtuple
from pathlib import Path

DRIVERS = Path(__file__).resolve().parent.parent
CACHE = DRIVERS.parent / ".cache"
PYTHON = CACHE / "venv" / "bin" / "python"
NODE_MODULES = CACHE / "node" / "node_modules"

Scenario = namedtuple("Scenario", "name command")


def python(script, *modes):
    """A Python application in several configurations."""
    return [Scenario(f"{script}-{mode}", [PYTHON, DRIVERS / "python" / f"{script}_app.py", mode]) for mode in modes]


def node(script, *modes):
    """A Node application in several configurations."""
    return [Scenario(f"{script}-{mode}", ["node", DRIVERS / "node" / f"{script}_app.js", mode]) for mode in modes]


ALL = [
    *python(
        "django", "idle", "health", "session", "atomic", "atomic-health", "server-binding", "pool",
        "trace", "trace-atomic", "trace-server-binding",
    ),
    *python("psycopg", "plain", "idle", "guc", "application_name", "dialects"),
    *python("sqlalchemy", "transaction", "ping", "tag", "trace", "trace-ping"),
    *python("sqlalchemy_async", "transaction", "ping", "trace"),
    *python("asyncpg", "marker", "trace", "parallel", "stale"),
    *node("pg", "idle", "trace", "trace-pool"),
    *node("sequelize", "idle", "trace"),
]
