from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from otel_sentry.cli import main
from otel_sentry.cli._demo_shop import find_script
from otel_sentry.variables import VARIABLES
from tests.collector.running import (
    FOLDER,
    ROOT,
    SAMPLER,
    SIDECAR,
    TRACE_STATE,
    find_collector,
    settings,
)

MANIFEST = yaml.safe_load((FOLDER / "builder.yaml").read_text())
VERSION = MANIFEST["dist"]["version"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GATEWAY = ("gateway/balancer.yaml",)
COMBINATIONS = [
    SIDECAR,
    (*SIDECAR, "also-otlp.yaml"),
    (*SIDECAR, "to-gateway.yaml"),
    (*SIDECAR, "share.yaml"),
    GATEWAY,
    SAMPLER,
]
# Their components cannot be built everywhere; they are checked against a table below.
KAFKA = {"gateway/kafka/producer.yaml", "gateway/kafka/consumer.yaml"}
MANIFESTS = {"kubernetes/gateway.yaml", "kubernetes/sidecar.yaml", "kubernetes/operator.yaml"}
# Read by every OpenTelemetry SDK, by Go, by the images, or by the demo shop.
FOREIGN = {
    "OTEL_SERVICE_NAME",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "GOMEMLIMIT",
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
}


def read(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text())


def config_variables() -> set[str]:
    """Return the variables that the Collector's files ask for."""
    texts = [path.read_text() for path in FOLDER.rglob("*.yaml")]
    return {name for text in texts for name in re.findall(r"\$\{env:(\w+)", text)}


def shop_variables() -> set[str]:
    sources = (ROOT / "otel_sentry/demo").glob("*.py")
    return {name for path in sources for name in re.findall(r'"(SHOP_\w+)"', path.read_text())}


def known_variables() -> set[str]:
    return {v.name for v in VARIABLES} | config_variables() | shop_variables() | FOREIGN


@pytest.mark.parametrize("files", COMBINATIONS, ids=" ".join)
def test_otelcol_accepts_every_file(tmp_path, files):
    """`otelcol validate`, of the release that we pin, accepts each way to combine the files."""
    environment = settings(
        None,
        tmp_path,
        OTLP_BACKEND_ENDPOINT="http://jaeger:4318",
        GATEWAY_ENDPOINT="http://otel-balancer:4318",
        SAMPLERS_HOSTNAME="localhost",
        SAMPLING_PERCENTAGE="10",
    )
    command = [find_collector(), "validate"]
    command += [TRACE_STATE] if files == SAMPLER else []
    command += [part for file in files for part in ("--config", str(FOLDER / file))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_file_goes_unchecked():
    """Each YAML file under collector/ is in one of the lists of this module."""
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml")}
    checked = {name for files in COMBINATIONS for name in files}
    assert files == checked | KAFKA | MANIFESTS | {"builder.yaml"}


def test_the_distribution_holds_just_what_the_files_use():
    """builder.yaml names every component that the files name, and no other."""
    used = {"receivers": set(), "processors": set(), "exporters": set(), "extensions": set()}
    for name in {name for files in COMBINATIONS for name in files}:
        content = read(name)
        for kind, names in used.items():
            names |= {key.partition("/")[0] for key in content.get(kind) or {}}
    # The exporter that load_balancing makes for each of its targets.
    used["exporters"].add("otlp_grpc")
    modules = {
        kind: {
            component["gomod"].partition(" ")[0].rpartition("/")[2] for component in MANIFEST[kind]
        }
        for kind in used
    }
    for kind, names in used.items():
        words = {name.replace("_", "").removesuffix("grpc") for name in names}
        ending = kind.removesuffix("s")
        assert {module.removesuffix(ending) for module in modules[kind]} == words


def test_one_release_throughout():
    """Images, manifests and the modules of builder.yaml are of one release of the Collector."""
    modules = [
        component["gomod"]
        for kind in ("receivers", "processors", "exporters", "extensions")
        for component in MANIFEST[kind]
    ]
    assert {module.rpartition(" ")[2] for module in modules} == {f"v{VERSION}"}
    texts = [path.read_text() for path in (ROOT / "docker-compose.yml", *FOLDER.rglob("*.yaml"))]
    images = re.findall(r"image: otel/opentelemetry-collector-contrib:(\S+)", "\n".join(texts))
    assert len(images) >= 5
    assert set(images) == {VERSION}


def test_kafka_keeps_traces_together():
    """Both sides of Kafka name the same topic and encoding, and a trace has one partition."""
    producer = read("gateway/kafka/producer.yaml")["exporters"]["kafka"]
    consumer = read("gateway/kafka/consumer.yaml")["receivers"]["kafka"]
    assert producer["partition_traces_by_id"] is True
    assert [producer["traces"]["topic"]] == consumer["traces"]["topics"]
    assert producer["traces"]["encoding"] == consumer["traces"]["encoding"]
    # config.go of kafkaexporter and kafkareceiver v0.161.0, configkafka of the same release.
    assert set(producer) <= {
        "brokers", "traces", "partition_traces_by_id", "producer", "sending_queue",
        "retry_on_failure",
    }  # fmt: skip
    assert set(consumer) <= {
        "brokers", "group_id", "traces", "message_marking", "error_backoff",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(MANIFESTS - {"kubernetes/operator.yaml"}))
def test_kubernetes_accepts_the_manifests(name):
    """Each manifest satisfies the strict JSON schema of the newest Kubernetes."""
    documents = list(yaml.safe_load_all((FOLDER / name).read_text()))
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_kubernetes_parts_fit_together():
    """Services select pods that exist, budgets and scalers name workloads, probes a real port."""
    documents = list(yaml.safe_load_all((FOLDER / "kubernetes/gateway.yaml").read_text()))
    by_kind: dict[str, dict[str, dict]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], {})[document["metadata"]["name"]] = document["spec"]
    workloads = by_kind["Deployment"] | by_kind["StatefulSet"]
    for name, spec in by_kind["Service"].items():
        assert spec["selector"] == workloads[name]["selector"]["matchLabels"]
    for name, spec in by_kind["PodDisruptionBudget"].items():
        assert spec["selector"] == workloads[name]["selector"]
    for spec in by_kind["HorizontalPodAutoscaler"].values():
        target = spec["scaleTargetRef"]
        assert target["name"] in by_kind[target["kind"]]
    (balancer,) = by_kind["Deployment"]["otel-balancer"]["template"]["spec"]["containers"]
    hosts = [item["value"] for item in balancer["env"] if item["name"] == "SAMPLERS_HOSTNAME"]
    assert [by_kind["Service"][host]["clusterIP"] for host in hosts] == ["None"]
    assert by_kind["StatefulSet"]["otel-sampler"]["serviceName"] in hosts


def test_the_operators_resource_is_the_sidecar():
    """operator.yaml is what its renderer prints, in the shape of the Operator's v1beta1."""
    rendered = subprocess.run(
        [find_script("python"), FOLDER / "kubernetes/render_operator.py"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (FOLDER / "kubernetes/operator.yaml").read_text() == rendered
    resource = yaml.safe_load(rendered)
    assert (resource["apiVersion"], resource["kind"]) == (
        "opentelemetry.io/v1beta1",
        "OpenTelemetryCollector",
    )
    # apis/v1beta1 of the Operator: OpenTelemetryCollectorSpec, with OpenTelemetryCommonFields.
    assert set(resource["spec"]) <= {
        "mode", "image", "env", "envFrom", "resources", "volumeMounts", "volumes", "config",
    }  # fmt: skip
    assert resource["spec"]["mode"] == "sidecar"


def test_compose_satisfies_its_specification():
    """docker-compose.yml satisfies the schema of the Compose specification."""
    jsonschema.validate(COMPOSE, get_builtin_schema("vendor.compose-spec"))


def test_compose_commands_and_paths_exist():
    """Commands are in the package's environment, applications import, mounted files are there."""
    for name, service in COMPOSE["services"].items():
        if service.get("image") == "otel-sentry-shop":
            check_command(service["command"])
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).exists() or source in COMPOSE["volumes"], (name, source)
        for other in service.get("depends_on", ()):
            assert other in COMPOSE["services"]
    for file in COMPOSE["services"]["collector"]["command"][1::2]:
        assert (FOLDER / Path(file).name).is_file()


def check_command(command: list[str]) -> None:
    """Check what of a shop's command can be checked without running it."""
    programs = [part for part in command if re.fullmatch(r"[a-z-]+", part)][:2]
    for program in programs if command[0] == "opentelemetry-instrument" else programs[:1]:
        assert find_script(Path(program).name)
    for part in command:
        module, _, attribute = part.partition(":")
        if module.startswith("otel_sentry."):
            assert hasattr(importlib.import_module(module), attribute)
    if command[0] == "otel-sentry":
        with pytest.raises(SystemExit, match="0"):
            main([*command[1:], "--help"])


def test_every_variable_is_known():
    """Each variable of the compose file, the units and the manifests is one that somebody reads."""
    named = {key for s in COMPOSE["services"].values() for key in s.get("environment", ())}
    for unit in (ROOT / "deploy/systemd").glob("*.service"):
        named |= set(re.findall(r"^Environment=(\w+)=", unit.read_text(), re.MULTILINE))
    for name in MANIFESTS:
        text = (FOLDER / name).read_text()
        named |= set(re.findall(r"\{name: ([A-Z_]+), value", text))
    assert named <= known_variables(), named - known_variables()
    assert len(named) >= 15


def test_no_secret_is_committed():
    """Whatever is secret comes from the environment, in every file of these folders."""
    paths = [ROOT / "docker-compose.yml", ROOT / "Dockerfile", *FOLDER.rglob("*.yaml")]
    paths += (ROOT / "deploy/systemd").glob("*")
    for path in paths:
        if path.name in {"scrubbing.yaml", "operator.yaml"}:
            continue
        for line in path.read_text().splitlines():
            if (
                re.search(r"(?i)(sentry_key=|password[:=]|dsn:)", line)
                and "docker compose" not in line
            ):
                assert re.search(r"\$\{|^#|=\.\.\.", line.strip()), (path, line)


def test_nothing_runs_as_root():
    """The image, the Collector and the pods run as another user than root."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d+$", dockerfile, re.MULTILINE)
    assert COMPOSE["services"]["collector"]["user"].startswith("10001")
    for name in sorted(MANIFESTS - {"kubernetes/operator.yaml"}):
        for document in yaml.safe_load_all((FOLDER / name).read_text()):
            if document["kind"] in {"Deployment", "StatefulSet"}:
                pod = document["spec"]["template"]["spec"]
                assert pod["securityContext"]["runAsNonRoot"] is True


UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_start_what_exists(unit):
    """A unit names known commands and arguments, and restarts what ends."""
    text = unit.read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    parts = shlex.split(command)
    if unit.name == "otelcol.service":
        for file in parts[2::2]:
            assert (FOLDER / Path(file).name).is_file()
    else:
        check_command([Path(part).name if part.startswith("/opt") else part for part in parts])
    assert "Restart=always" in text
    assert "NoNewPrivileges=true" in text


def test_systemd_accepts_the_units(tmp_path):
    """`systemd-analyze verify` finds nothing wrong but the programs that are not installed here."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze: apt install systemd")
    done = subprocess.run(
        [analyze, "verify", "--man=no", *UNITS], capture_output=True, text=True, check=False
    )
    findings = [
        line
        for line in done.stderr.splitlines()
        if any(unit.name in line for unit in UNITS) and "is not executable" not in line
    ]
    assert not findings
