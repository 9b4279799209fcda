"""The applications, each with the command that runs it."""

from collections import namedtuple
from pathlib import Path

DRIVERS = Path(__file__).resolve().parent.parent
CACHE = DRIVERS.parent / ".cache"
PYTHON = CACHE / "venv" / "bin" / "python"
NODE_MODULES = CACHE / "node" / "node_modules"

# Where Debian's package puts it.
JDBC = Path("/usr/share/java/postgresql.jar")

Scenario = namedtuple("Scenario", "name command")


def python(script, *modes):
    """A Python application in several configurations."""
    return [Scenario(f"{script}-{mode}", [PYTHON, DRIVERS / "python" / f"{script}_app.py", mode]) for mode in modes]


def node(script, *modes):
    """A Node application in several configurations."""
    return [Scenario(f"{script}-{mode}", ["node", DRIVERS / "node" / f"{script}_app.js", mode]) for mode in modes]


def java(script, *modes):
    """A Java application in several configurations."""
    source = DRIVERS / "java" / f"{script.capitalize()}App.java"
    return [Scenario(f"{script}-{mode}", ["java", "-cp", JDBC, source, mode]) for mode in modes]


ALL = [
    *python(
        "django", "idle", "health", "session", "atomic", "atomic-health", "server-binding", "pool",
        "trace", "trace-atomic", "trace-server-binding",
    ),
    *python("psycopg", "plain", "idle", "guc", "application_name", "dialects"),
    *python("sqlalchemy", "transaction", "ping", "tag", "trace", "trace-ping"),
    *python("sqlalchemy_async", "transaction", "ping", "trace"),
    *python("asyncpg", "marker", "trace", "parallel", "stale"),
    *python("pg8000", "idle", "trace"),
    *node("pg", "idle", "trace", "trace-pool"),
    *node("postgres", "idle", "trace"),
    *node("sequelize", "idle", "trace"),
    *java("jdbc", "idle", "trace"),
]
