"""One check and the counting of checks."""

from dataclasses import dataclass


@dataclass
class Check:
    """What was checked, whether it holds, and what to know when not."""

    name: str
    ok: bool
    detail: object = ""


class Tally:
    """Counts checks and prints one line for each."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def add(self, check):
        """Prints and counts one check."""
        if check.ok:
            self.passed += 1
            print(f"ok    {check.name}", flush=True)
            return
        self.failed += 1
        print(f"FAIL  {check.name}", flush=True)
        details = check.detail if isinstance(check.detail, (list, tuple)) else str(check.detail).splitlines()
        for line in list(details)[:40]:
            print(f"      {line}", flush=True)
