"""Dockerfiles, the compose file, Kubernetes manifests and the Helm chart."""

import json
import re
import shutil
import tomllib

import helm_python
import jsonschema
import kubernetes_validate
import yaml

from . import sources
from .check import Check
from .program import check_config, run

DEPLOY = sources.ROOT / "deploy"
CHART = DEPLOY / "helm" / "pgtally"
KUBERNETES = "1.37"
LINT_INFO = 1
EVERYTHING = {
    "autoscaling": {"enabled": True},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "existingSecret": "mine",
    "config": {
        "findings": {"n_plus_one_repeats": 7, "routes": {'GET /a "b".c': {"duplicate_repeats": 9}}},
        "requests": {"id_tags": ["request_id", "job_id"]},
    },
    "env": [{"name": "PGTALLY__LOG__LEVEL", "value": "debug"}],
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
}
NOTHING = {"podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False}, "podAnnotations": {}}
WRONG = [
    {"replicas": "two"},
    {"replica": 2},
    {"config": {"relay": {"upstreem": "postgres:5432"}}},
    {"config": {"relay": {"drain_timeout": "50"}}},
    {"config": {"findings": {"routes": {"/a": {"mode": "run"}}}}},
]


def checks(pgtally, folder, compose_schema):
    """All of them."""
    yield run("hadolint", shutil.which("hadolint"), DEPLOY / "Dockerfile", DEPLOY / "Dockerfile.static")
    yield compose(compose_schema)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            documents = list(yaml.safe_load_all(path.read_text()))
            yield manifests(f"{path.name}", documents, pgtally, folder)
    yield from chart(pgtally, folder)
    yield versions()
    copies = [path.name for path in sources.RULES
              if path.read_text() != (CHART / "rules" / path.name).read_text()]
    yield Check("the chart's rules are those of grafana/alerts", not copies, [f"copy {name} again" for name in copies])


def compose(compose_schema):
    """The compose file fits the specification, and what it mounts and builds exists."""
    path = DEPLOY / "compose.yaml"
    written = yaml.safe_load(path.read_text())
    schema = json.loads(compose_schema.read_text())
    # The schema on npm is older than names of projects.
    schema["properties"]["name"] = {"type": "string"}
    validator = jsonschema.validators.validator_for(schema)(schema)
    problems = [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(written)]
    for name, service in written["services"].items():
        mounts = [volume.split(":")[0] for volume in service.get("volumes", [])]
        problems += [f"{name} mounts {mount}" for mount in mounts
                     if mount.startswith(".") and not (DEPLOY / mount).exists()]
        problems += [f"{name} waits for {other}" for other in service.get("depends_on", {})
                     if other not in written["services"]]
        tag = service["image"].partition(":")[2]
        if "build" not in service and tag in ("", "latest"):
            problems.append(f"{name} has no pinned version")
    return Check(f"the compose file and its {len(written['services'])} services", not problems, problems)


def manifests(name, documents, pgtally, folder):
    """Kubernetes' own schemas, and the configuration inside; resources of operators only by their shape."""
    problems = []
    for document in documents:
        if not document["apiVersion"].startswith("monitoring.coreos.com/"):
            try:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{document['kind']}: {error.message}")
        if document["kind"] == "ConfigMap":
            problems += configuration(document["data"]["pgtally.toml"], documents, pgtally, folder)
    kinds = ", ".join(document["kind"] for document in documents)
    return Check(f"{name}: {kinds}", not problems, problems)


def configuration(text, documents, pgtally, folder):
    """A configuration inside of a ConfigMap is usable, and pods wait for longer than it drains."""
    token = folder / "admin-token"
    token.write_text("0123456789abcdef\n")
    local = text.replace("/run/secrets/pgtally/admin-token", str(token))
    code, output = check_config(pgtally, local, folder=folder)
    if code != 0:
        yield output
    drain = int(tomllib.loads(text)["relay"]["drain_timeout"].removesuffix("s"))
    for document in documents:
        if document["kind"] == "Deployment":
            grace = document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            if grace <= drain:
                yield f"pods end after {grace} s, sessions drain for {drain} s"


def chart(pgtally, folder):
    """Helm's own check, and what it renders from the defaults, from everything and from nothing."""
    lint = helm_python.lint(CHART)
    problems = [message for message in lint["messages"] if message["severity"] > LINT_INFO] + lint["errors"]
    yield Check("helm lint", not problems, problems)
    loaded = helm_python.Chart.load(CHART)
    for name, values in (("defaults", {}), ("everything on", EVERYTHING), ("everything off", NOTHING)):
        yield manifests(f"chart, {name}", rendered(loaded, values), pgtally, folder)
    accepted = []
    for values in WRONG:
        try:
            loaded.render(values)
            accepted.append(values)
        except helm_python.HelmError:
            pass
    yield Check(f"the chart refuses {len(WRONG)} wrong values", not accepted, accepted)


def rendered(loaded, values):
    """The documents that a chart makes of values."""
    files = loaded.render(values)
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def versions():
    """Chart, manifests and program have one version."""
    version = re.search(r'^version = "(.*)"', (sources.ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    written = {path.name: set(re.findall(r"(?:image: pgtally:|ersion: )(\d+\.\d+\.\d+)", path.read_text()))
               for path in (CHART / "Chart.yaml", *sorted((DEPLOY / "kubernetes").glob("s*.yaml")))}
    wrong = {name: found for name, found in written.items() if found != {version}}
    return Check(f"everything speaks of version {version}", not wrong, str(wrong))
