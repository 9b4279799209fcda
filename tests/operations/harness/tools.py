"""The programs of Prometheus that the tests run."""

import shutil
from dataclasses import dataclass


class ToolMissing(Exception):
    """A program that the tests need is not there."""


@dataclass
class Tools:
    """Paths of the programs."""

    prometheus: str
    promtool: str
    alertmanager: str
    amtool: str

    @classmethod
    def find(cls):
        """On the path. Debian calls Alertmanager prometheus-alertmanager."""

        def program(*names):
            for name in names:
                if found := shutil.which(name):
                    return found
            raise ToolMissing(f"there is no {names[0]}: tests/run.sh installs it")

        return cls(
            program("prometheus"),
            program("promtool"),
            program("prometheus-alertmanager", "alertmanager"),
            program("amtool"),
        )
