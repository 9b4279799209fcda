#!/usr/bin/env python3
"""Checks what pgtally is deployed with, by the tools that would read it.

The configuration's reference and schema against the program; systemd units by systemd's own checks; the Debian
package by installing it; images by building and running them; Dockerfiles, compose file, manifests and chart by their
validators; and what operators and machines get wrong by getting it wrong.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from harness import configuration, containers, images, service, troubles
from harness.check import Check, Tally


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=Path, required=True, help="the binary")
    parser.add_argument("--compose-schema", type=Path, required=True, help="JSON schema of compose files")
    arguments = parser.parse_args()
    pgtally = arguments.pgtally.resolve()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="pgtally-deployment-") as name:
        folder = Path(name)
        try:
            for checks in (
                configuration.checks(pgtally, folder),
                service.checks(pgtally, folder),
                troubles.checks(pgtally, folder),
                containers.checks(pgtally, folder, arguments.compose_schema),
                images.checks(pgtally, folder),
            ):
                for check in checks:
                    tally.add(check)
        except OSError as error:
            tally.add(Check("environment", False, str(error)))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
