#!/usr/bin/env python3
"""Writes the dashboards under `dashboards/` from the code under `generator/`.

Grafana imports the JSON files as they are; nobody needs this script to use them. With `--check` nothing is written: the
exit code says whether the files are what the code makes.
"""

import argparse
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from generator import cache, findings, health, overview, routes, statements

FOLDER = Path(__file__).resolve().parent / "dashboards"
DASHBOARDS = {
    "overview": overview.dashboard,
    "routes": routes.dashboard,
    "statements": statements.dashboard,
    "findings": findings.dashboard,
    "cache": cache.dashboard,
    "health": health.dashboard,
}


def render(make):
    """One dashboard as text."""
    board = make().build()
    # Grafana would number panels itself, but links to one panel should survive an import.
    for number, panel in enumerate(board.panels, 1):
        panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=2).encode(board) + "\n"


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare with what is there")
    arguments = parser.parse_args()
    differing = []
    for name, make in DASHBOARDS.items():
        path = FOLDER / f"{name}.json"
        text = render(make)
        if not path.exists() or path.read_text() != text:
            differing.append(path.name)
            if not arguments.check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    strangers = sorted({path.stem for path in FOLDER.glob("*.json")} - set(DASHBOARDS))
    if strangers:
        print(f"no code makes these: {', '.join(strangers)}", file=sys.stderr)
    if differing:
        print(f"{'differ from what the code makes' if arguments.check else 'written'}: {', '.join(differing)}")
    return 1 if strangers or (arguments.check and differing) else 0


if __name__ == "__main__":
    sys.exit(main())
