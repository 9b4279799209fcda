#!/usr/bin/env python3
"""Writes the JSON Schema of the configuration from the reference, for editors and for the Helm chart.

The reference describes each setting in a fixed form: comment, a line with kind, default and reload, the setting. This
reads that form; tests/run.sh compares the reference with the program. With `--check` nothing is written.
"""

import argparse
import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
REFERENCE = FOLDER / "reference.toml"
SCHEMA = FOLDER / "pgtally.schema.json"
VALUES_SCHEMA = FOLDER.parent / "helm" / "pgtally" / "values.schema.json"

DURATION = r"[0-9]+ ?(us|ms|s|min|h)"
SIZE = "^[0-9]+ ?(B|KiB|MiB|GiB)$"
FACTS = re.compile(r"^(?P<kind>.+); (?:default (?P<default>.+)|(?P<unset>not set)); (?P<when>reload|restart)$")
SETTING = re.compile(r"^(?P<off>#)?(?P<key>[a-z_]+) = (?P<value>.+)$")
TEXT = {"type": "string", "minLength": 1}
NUMBER_TEXT = {"type": "string", "pattern": "^[0-9]+$"}


@dataclass
class Setting:
    """One setting as the reference describes it."""

    path: str
    words: str
    kind: str
    default: str | None
    reloads: bool
    is_commented: bool
    example: object


class Malformed(Exception):
    """The reference does not follow its own form."""


def settings():
    """All settings of the reference."""
    section, comments, found = "", [], []
    for number, line in enumerate(REFERENCE.read_text().splitlines(), 1):
        setting = SETTING.match(line)
        if line.startswith("[") and line.endswith("]"):
            section, comments = line[1:-1], []
        elif setting and section:
            facts = FACTS.match(comments[-1]) if comments else None
            if not facts or len(comments) < 2:
                raise Malformed(f"line {number}: a reason and a line with kind, default and reload belong above")
            found.append(Setting(
                f"{section}.{setting['key']}", " ".join(comments[:-1]), facts["kind"], facts["default"],
                facts["when"] == "reload", bool(setting["off"]), tomllib.loads(f"x = {setting['value']}")["x"]))
            comments = []
        elif line.startswith("# "):
            comments.append(line[2:])
        elif not line:
            comments = []
        elif section:
            raise Malformed(f"line {number}: neither a comment nor a setting")
    return found


def number(kind):
    """Schema of `number from A to B`."""
    bounds = [int(word) for word in re.findall(r"\d+", kind)]
    schema = {"type": "integer", "minimum": bounds[0]}
    return schema | ({"maximum": bounds[1]} if len(bounds) > 1 else {})


def schema_of(kind):
    """JSON Schema of a kind of value."""
    if kind.startswith("one of "):
        return {"enum": kind.removeprefix("one of ").split(", ")}
    if kind.startswith("number"):
        plain = [number(kind), NUMBER_TEXT]
        return {"anyOf": plain + ([{"const": "unlimited"}] if kind.endswith("or unlimited") else [])}
    if kind.startswith("list of "):
        return {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
    return {
        "duration": {"type": "string", "pattern": f"^{DURATION}$"},
        "lifetime": {"anyOf": [{"enum": ["short", "medium", "long"]}, {"type": "string", "pattern": f"^{DURATION}$"}]},
        "size": {"type": "string", "pattern": SIZE},
        "duration or off": {"type": "string", "pattern": f"^(off|{DURATION})$"},
        "switch": {"enum": ["on", "off", True, False]},
        "factor above 1": {"anyOf": [{"type": "number", "exclusiveMinimum": 1}, TEXT]},
        "secret": TEXT | {"writeOnly": True},
        "text": TEXT,
        "path": TEXT,
        "address or off": TEXT,
    }[kind]


def config_schema():
    """The schema of the whole configuration."""
    sections = {}
    for setting in settings():
        section, key = setting.path.split(".")
        facts = {"description": setting.words}
        if setting.default and not setting.is_commented:
            facts["default"] = setting.example
        table = sections.setdefault(section, {"type": "object", "additionalProperties": False, "properties": {}})
        table["properties"][key] = facts | schema_of(setting.kind)
    thresholds = sections["findings"]["properties"]
    own = {key: facts for key, facts in thresholds.items() if key not in ("mode", "acknowledgements")}
    own = {key: {name: fact for name, fact in facts.items() if name != "default"} for key, facts in own.items()}
    thresholds["routes"] = {
        "description": "Thresholds of single routes.",
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": False, "properties": own},
    }
    sections["cache"]["properties"]["rules"] = {
        "description": "What single statements get without a comment.",
        "type": "object",
        "additionalProperties": rule_schema(sections["cache"]["properties"]),
    }
    return {"type": "object", "additionalProperties": False, "properties": sections}


def rule_schema(cache):
    """One rule of the cache: what it matches, and what that gets."""
    limits = {key: cache[key] for key in ("mode", "ttl", "stale_while_revalidate", "entry_max")}
    limits = {key: {name: fact for name, fact in facts.items() if name != "default"} for key, facts in limits.items()}
    lists = {key: schema_of("list of names") for key in ("tables", "tags", "vary")}
    own = {
        "database": TEXT, "user": TEXT, "pattern": TEXT, "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "cache": schema_of("switch")}
    return {"type": "object", "additionalProperties": False, "properties": own | lists | limits}


def rendered():
    """Every file that is made from the reference, with its text."""
    config = config_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Configuration of pgtally"}
    files = {SCHEMA: head | config}
    if VALUES_SCHEMA.exists():
        values = json.loads(VALUES_SCHEMA.read_text())
        values["properties"]["config"] = {"description": "The configuration file; see reference.toml"} | config
        files[VALUES_SCHEMA] = values
    return {path: json.dumps(schema, indent=2) + "\n" for path, schema in files.items()}


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare with what is there")
    arguments = parser.parse_args()
    differing = [path for path, text in rendered().items() if not path.exists() or path.read_text() != text]
    for path in differing:
        print(f"{path.name} {'differs from the reference' if arguments.check else 'written'}")
        if not arguments.check:
            path.write_text(rendered()[path])
    return 1 if differing and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
