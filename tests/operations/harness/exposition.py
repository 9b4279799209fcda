"""Prometheus's text format, as far as pgtally writes it."""

import re

SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
# What Prometheus itself adds to what it scrapes.
OF_PROMETHEUS = {"up", "scrape_samples_scraped", "scrape_duration_seconds"}
TARGET_LABELS = {"job", "instance"}


class Exposition:
    """Names and labels of all series that were seen, possibly over several scrapes."""

    def __init__(self):
        self.families = {}
        self.labels = {name: {} for name in OF_PROMETHEUS}

    def add(self, text):
        """Takes in one scrape."""
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ", 3)
                self.families[name] = kind
            elif line and not line.startswith("#"):
                name, labels, _ = SAMPLE.match(line).groups()
                seen = self.labels.setdefault(name, {})
                for label, value in LABEL.findall(labels or ""):
                    seen.setdefault(label, set()).add(value)

    def has(self, name):
        """Whether there is a series of this name."""
        return name in self.labels

    def lacking(self, selector):
        """Labels that a selector asks for and no series of its name has."""
        return selector.labels - set(self.labels[selector.name]) - TARGET_LABELS
