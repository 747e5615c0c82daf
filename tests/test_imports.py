from __future__ import annotations

import ast
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import otel_sentry
from otel_sentry import environment_variables
from otel_sentry.variables import VARIABLES

ROOT = Path(__file__).parent.parent
HEAVY = ["sentry_sdk", "opentelemetry.sdk", "fastapi", "starlette", "sqlalchemy", "redis", "celery"]
HEAVY += ["rich", "requests"]


def run(code: str, **environ: str) -> str:
    """Run Python code in a new interpreter that knows of this process's settings nothing."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("OTEL_", "SENTRY_", "PYTEST_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("propagators", ["sentry", "tracecontext,baggage,sentry"])
def test_the_propagator_loads_by_name(propagators):
    """OTEL_PROPAGATORS may name `sentry`; a failure here would stop every launched application."""
    # sentry-sdk registers one of the same name; either may be found first.
    printed = run(
        "import opentelemetry.propagate as p;"
        "print([type(one).__name__ for one in p.get_global_textmap()._propagators])",
        OTEL_PROPAGATORS=propagators,
    )
    assert "SentryPropagator" in printed
    assert len(ast.literal_eval(printed)) == len(propagators.split(","))


def test_our_propagator_is_registered():
    """The entry point leads to our class."""
    found = importlib.metadata.entry_points(group="opentelemetry_propagator", name="sentry")
    values = {entry_point.value for entry_point in found}
    assert "otel_sentry.propagation:SentryPropagator" in values


def test_importing_what_the_launcher_imports_is_cheap():
    """What the launcher imports before it knows whether the bridge is on brings nothing heavy."""
    for names in (
        ("otel_sentry", "otel_sentry.environment_variables", "otel_sentry.settings"),
        ("otel_sentry.propagation", "otel_sentry.distro"),
    ):
        printed = run(
            f"import sys, {', '.join(names)}\n"
            f"print([name for name in {HEAVY} if name in sys.modules],"
            "'opentelemetry.trace' in sys.modules)"
        )
        assert printed == f"[] {'otel_sentry.distro' in names}", names


def test_the_sampler_needs_the_sdk_and_nothing_else():
    """The sampler works under other distributions: it needs OpenTelemetry's SDK, not sentry-sdk."""
    printed = run(
        "import sys, otel_sentry.sampling\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert "sentry_sdk" not in printed


def test_environment_variables_import_nothing():
    """The module that becomes the launcher's flags has no import but the one from the future."""
    tree = ast.parse(Path(environment_variables.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [node.module for node in imports] == ["__future__"]


def test_environment_variables_are_documented():
    """Each of our own variables is a constant of its own name, documented, and is read."""
    tree = ast.parse(Path(environment_variables.__file__).read_text())
    body = tree.body[2:]  # behind docstring and future import
    documented = {}
    for constant, text in zip(body[::2], body[1::2], strict=True):
        documented[constant.targets[0].id] = (constant.value.value, text.value.value)
    ours = [variable for variable in VARIABLES if variable.name.startswith("OTEL_SENTRY_")]
    assert set(documented) == {variable.name for variable in ours}
    assert set(documented) == {name for name in dir(environment_variables) if name.isupper()}
    for name, (value, text) in documented.items():
        assert name == value
        assert text.startswith(f"\n.. envvar:: {name}\n\n")
        assert text.strip().endswith((".", "``", ")"))
    for variable in ours:
        if isinstance(variable.default, (bool, int)):
            default = f"**Default value:** ``{str(variable.default).lower()}``"
            assert default in documented[variable.name][1], variable.name


def test_our_variables_are_registered():
    """The launcher finds the module, so each variable is a flag of it."""
    [entry_point] = importlib.metadata.entry_points(
        group="opentelemetry_environment_variables", name="sentry"
    )
    assert entry_point.load() is environment_variables


def test_the_public_names():
    """`__all__` says what the package offers, and it is there."""
    assert sorted(otel_sentry.__all__) == list(otel_sentry.__all__)
    for name in otel_sentry.__all__:
        assert getattr(otel_sentry, name)
    assert otel_sentry.__version__ == importlib.metadata.version("otel-sentry")


def test_import_contracts():
    """The arrows between the modules point the way the design has them (.importlinter)."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    if not lint_imports.exists():
        pytest.skip("pip install import-linter")
    done = subprocess.run(
        [lint_imports, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
