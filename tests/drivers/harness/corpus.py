"""The corpus of real libraries: which programs run pages, what their labels say, and how findings are scored."""

import re
import subprocess
from collections import Counter, namedtuple
from pathlib import Path

from .scenarios import CACHE, NODE_MODULES, PYTHON

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
PRISMA_CLIENT = CACHE / "node" / "prisma"

Program = namedtuple("Program", "name command probe")
Label = namedtuple("Label", "kind confidence column is_optional")

# Whether these are found depends on how fast the machine is, which no label can say.
TIMED = {"idle_in_transaction", "sequential_independent", "slow_statement"}
# From here on a request is chatty by its number of statements, below it by its times.
CHATTY_STATEMENTS = 50


def programs():
    """Each library's pages, how they are run, and what tells whether they can be."""
    for path in sorted((CORPUS / "python").glob("*_pages.py")):
        yield Program(path.stem, [PYTHON, path], None)
    for path in sorted((CORPUS / "node").glob("*_pages.js")):
        yield Program(path.stem, ["node", path], None)
    # Debian's packages, which not every release has.
    for path in sorted((CORPUS / "ruby").glob("*_pages.rb")):
        library = "active_record" if "activerecord" in path.stem else "sequel"
        yield Program(path.stem, ["ruby", path], ["ruby", "-e", f"require '{library}'; require 'pg'"])
    for path in sorted((CORPUS / "php").glob("*_pages.php")):
        library = "Illuminate/Pagination" if "eloquent" in path.stem else "Doctrine/ORM"
        yield Program(path.stem, ["php", path], ["php", "-r", f"require_once '{library}/autoload.php';"])


def is_installed(program):
    """Whether the program's library is there."""
    try:
        return program.probe is None or subprocess.run(program.probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def environment():
    """What the programs need to know beside the database's address."""
    return {"NODE_PATH": str(NODE_MODULES), "PRISMA_CLIENT": str(PRISMA_CLIENT), "PYTHONDONTWRITEBYTECODE": "1"}


def read_labels():
    """Page, or library and page → its labels."""
    labels = {}
    for line in (CORPUS / "labels.txt").read_text(encoding="utf-8").splitlines():
        name, colon, rest = line.partition(":")
        if not line.startswith("#") and colon:
            labels[name] = [label(text.strip()) for text in rest.split(",") if text.strip()]
    return labels


def label(text):
    """One label as it is written."""
    words = text.removeprefix("?").split()
    confidences = [word for word in words if word in ("high", "medium", "info")]
    columns = [word for word in words if "." in word]
    return Label(words[0], (confidences or [None])[0], (columns or [None])[0], text.startswith("?"))


def labels_of(labels, name):
    """Labels of `library.page`; None where nobody has said what is right."""
    return labels.get(name, labels.get(name.partition(".")[2]))


def is_scored(finding):
    """Whether a finding depends on what was sent, not on the time it took."""
    is_chatty = finding["kind"] == "chatty_request"
    return finding["kind"] not in TIMED and (not is_chatty or finding["repeat"] >= CHATTY_STATEMENTS)


def fits(wanted, finding):
    """Whether a finding is the labelled one."""
    is_confident = wanted.confidence in (None, finding["confidence"])
    is_linked = wanted.column in (None, finding.get("linked_column"))
    return finding["kind"] == wanted.kind and is_confident and is_linked


class Score:
    """Right, wrong and missed findings for each kind."""

    def __init__(self):
        self.right, self.wrong, self.missed = Counter(), Counter(), Counter()
        self.problems = []

    def page(self, name, labels, findings):
        """Scores one page."""
        left = [finding for finding in findings if is_scored(finding)]
        for wanted in (it for it in labels if not it.is_optional):
            found = next((finding for finding in left if fits(wanted, finding)), None)
            (self.missed if found is None else self.right)[wanted.kind] += 1
            if found is None:
                self.problems.append(f"{name}: missed {wanted.kind} {wanted.confidence or ''} {wanted.column or ''}")
            else:
                left.remove(found)
        optional = {it.kind for it in labels if it.is_optional}
        for finding in (it for it in left if it["kind"] not in optional):
            self.wrong[finding["kind"]] += 1
            self.problems.append(f"{name}: wrong {describe(finding)}")

    def precision(self, kind=None):
        """Share of the findings that are right."""
        return share(self._sum(self.right, kind), self._sum(self.wrong, kind))

    def recall(self, kind=None):
        """Share of what is wrong with the pages that was found."""
        return share(self._sum(self.right, kind), self._sum(self.missed, kind))

    @staticmethod
    def _sum(counter, kind):
        return counter[kind] if kind else sum(counter.values())

    def lines(self):
        """A table, and what is behind it."""
        yield f"{'kind':<24} right wrong missed precision recall"
        for kind in sorted({*self.right, *self.wrong, *self.missed}):
            numbers = f"{self.right[kind]:>5} {self.wrong[kind]:>5} {self.missed[kind]:>6}"
            yield f"{kind:<24} {numbers} {self.precision(kind):>9.3f} {self.recall(kind):>6.3f}"
        yield f"{'all':<24} precision {self.precision():.3f}, recall {self.recall():.3f}"
        yield from self.problems


def describe(finding):
    """A finding in one line."""
    statement = re.sub(r"\s+", " ", finding["statement"])[:140]
    parent = finding.get("linked_column") or "-"
    return f"{finding['kind']} {finding['confidence']} {parent} x{finding['repeat']} {statement}"


def share(right, other):
    """1 where nothing was to be found."""
    return right / (right + other) if right + other else 1.0
