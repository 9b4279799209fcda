"""The reference of the configuration against the program: every setting, its default, its kind, its reload."""

import json
import re
import sys
import tomllib

import jsonschema

from . import sources
from .check import Check
from .program import check_config, run

FOLDER = sources.ROOT / "deploy" / "config"
sys.path.insert(0, str(FOLDER))
import schema  # noqa: E402  pylint: disable=wrong-import-position; the script that makes the schema

SHOWN = re.compile(r"^(?:(?P<path>[a-z_.]+) = (?P<value>.+?)  # (?P<origin>.+)|# (?P<unset>[a-z_.]+) is not set)$")
# Values of each kind that are fine, and such that are not.
SAMPLES = {
    "address or off": (["127.0.0.1:1", "off"], [""]),
    "duration": (["250ms", "10s", "5 min"], ["10", "1 fortnight", ""]),
    "duration or off": (["off", "1h"], ["10", "on"]),
    "switch": (["on", "off", True], ["perhaps", 7]),
    "text": (["db:5432"], [""]),
    "list of addresses": (["127.0.0.1:1", ["127.0.0.1:1", "127.0.0.1:2"]], [7]),
    "list of networks": (["10.0.0.0/8", ["10.0.0.1", "::1"]], [7]),
    "list of names": (["a", ["a", "b"]], []),
}
# Thresholds of single routes.
ROUTES = [
    ('[findings.routes."/orders"]\nduplicate_repeats = 9\nslow_statement = "2s"\n', True),
    ('[findings.routes."/orders"]\nduplicate_repeats = 0\n', False),
    ('[findings.routes."/orders"]\nmode = "run"\n', False),
]
# A value of its own is not enough for these.
COMPANIONS = {
    "console.admins": {"console": {"auth_file": "/dev/null"}},
    "console.viewers": {"console": {"auth_file": "/dev/null"}},
    "inspect.explain": {"inspect": {"user": "p"}},
    "relay.target_session_attrs": {"probe": {"user": "p"}},
    "relay.proxy_protocol_from": {"relay": {"proxy_protocol": "on"}},
    "tls.upstream_negotiation": {"tls": {"upstream_tls": "require"}},
}
# Their good values need files, or each other: the program's own tests have them.
NOT_ALONE = {"auth.mode", "auth.auth_query", "tls.client_tls", "tls.upstream_tls"}


def checks(pgtally, folder):
    """All of them."""
    yield run("the schema is what the reference says", sys.executable, "-B", FOLDER / "schema.py", "--check")
    settings = schema.settings()
    yield complete(pgtally, settings)
    yield defaults(pgtally, settings)
    yield reloads(settings)
    yield agreement(pgtally, folder, settings)
    for path in (FOLDER / "minimal.toml", sources.ROOT / "deploy" / "docker" / "pgtally.toml"):
        code, output = check_config(pgtally, path=path)
        yield Check(f"{path.parent.name}/{path.name} is usable", code == 0, output)
    yield errors_at_once(pgtally, folder)


def effective(output):
    """Path → value (None where not set) of what check-config prints."""
    matches = [SHOWN.match(line) for line in output.splitlines()]
    return {match["path"] or match["unset"]: match["value"] for match in matches if match}


def complete(pgtally, settings):
    """Every setting of the program stands in the reference, and no other."""
    _, output = check_config(pgtally)
    known, written = set(effective(output)), {setting.path for setting in settings}
    problems = [f"not in reference.toml: {sorted(known - written)}"] if known - written else []
    problems += [f"no such setting: {sorted(written - known)}"] if written - known else []
    return Check(f"{len(known)} settings are documented", not problems, problems)


def defaults(pgtally, settings):
    """A copy of the reference changes nothing, and what is not set by default is commented out in it."""
    _, output = check_config(pgtally)
    code, copied = check_config(pgtally, path=FOLDER / "reference.toml")
    before, after = effective(output), effective(copied)
    problems = [f"{path}: {before[path]} becomes {value}" for path, value in after.items() if before.get(path) != value]
    for setting in settings:
        has_default = before.get(setting.path) is not None
        if has_default != (setting.default is not None):
            problems.append(f"{setting.path}: says default {setting.default}, has {before.get(setting.path)}")
    return Check("the reference holds the defaults", code == 0 and not problems, problems or copied)


def reloads(settings):
    """What the reference says of reloads is what the code does."""
    code = (sources.ROOT / "crates" / "pgtally" / "src" / "config" / "reload.rs").read_text()
    listed = set(re.findall(r'"([a-z_.]+)"', re.search(r"const RESTART_ONLY.*?\];", code, re.DOTALL)[0]))
    written = {setting.path for setting in settings if not setting.reloads}
    return Check("what needs a restart is said", listed == written, sorted(listed ^ written))


def agreement(pgtally, folder, settings):
    """Program and schema accept and refuse the same values."""
    made = json.loads((FOLDER / "pgtally.schema.json").read_text())
    cases = [*ROUTES, *(case for setting in settings for case in cases_of(setting))]
    problems = []
    for text, is_fine in cases:
        accepts = not list(jsonschema.Draft202012Validator(made).iter_errors(tomllib.loads(text)))
        code, output = check_config(pgtally, text, folder=folder)
        if (accepts, code == 0) != (is_fine, is_fine):
            problems.append(f"{text!r}: schema {accepts}, program {code}: {output[-200:]}")
    return Check(f"schema and program agree on {len(cases)} values", not problems, problems)


def cases_of(setting):
    """(configuration, whether it is fine) for each sample of a setting."""
    for value, is_fine in samples(setting):
        if is_fine and setting.path in NOT_ALONE:
            continue
        section, key = setting.path.split(".")
        written = {name: dict(table) for name, table in COMPANIONS.get(setting.path, {}).items()}
        written.setdefault(section, {})[key] = value
        yield as_toml(written), is_fine


def samples(setting):
    """(value, whether it is fine) for a setting's kind."""
    kind = setting.kind
    if kind.startswith("one of "):
        words = kind.removeprefix("one of ").split(", ")
        good, bad = words, ["something else", 7]
    elif kind.startswith("number from "):
        low = int(kind.split()[2])
        good, bad = [low, str(low + 1)], [low - 1, "many", 1.5]
        good += ["unlimited"] if kind.endswith("unlimited") else []
    else:
        good, bad = SAMPLES.get(kind, ([], []))
    return [(value, True) for value in good] + [(value, False) for value in bad]


def as_toml(tables):
    """Tables of plain values as TOML, which writes those as JSON does."""
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for section, table in tables.items())


def errors_at_once(pgtally, folder):
    """A file with three mistakes gives three errors and exit code 64."""
    text = '[relay]\nupstreem = "x"\nworkers = 0\nconnect_timeout = "10"\n'
    code, output = check_config(pgtally, text, folder=folder)
    named = all(word in output for word in ("relay.upstreem", "relay.workers", "relay.connect_timeout"))
    return Check("all errors come at once", code == 64 and named, output)
