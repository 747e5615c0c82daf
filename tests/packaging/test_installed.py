from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_sentry.cli.tail.receiver import Receiver
from tests.packaging.environments import unpack_without_package

CORE = (
    "tests/test_imports.py",
    "tests/test_propagation.py",
    "tests/errors/test_api.py",
    "tests/semantics/test_infer.py",
    "tests/transactions/test_event.py",
    "tests/test_launcher.py::test_off_imports_nothing",
    "tests/test_launcher.py::test_on_is_lazy",
)

# What a user of the public API writes. It must satisfy the strictest settings.
PROGRAM = """
from __future__ import annotations

from typing import Any

import otel_sentry
from otel_sentry.sampling import SentrySampler
from otel_sentry.testing import CapturedSentry


def traces_sampler(context: dict[str, Any]) -> float | None:
    return 1.0 if "asgi_scope" in context else None


otel_sentry.init(traces_sampler=traces_sampler, ignore_errors=[KeyError, "shop.Known"])
otel_sentry.set_user_context(user_id=7, role="admin")
event: str | None = otel_sentry.capture_exception(ValueError("x"), tags={"a": "b"})
event = otel_sentry.capture_message("hello", level="info", extra={"keys": 0})
otel_sentry.flush(timeout=2)
head: str = otel_sentry.trace_propagation_meta()
sampler = SentrySampler(0.25)


def test_checkout(captured_sentry: CapturedSentry) -> None:
    assert captured_sentry.errors == []
"""

MISTAKE = "\notel_sentry.capture_message(7)\n"

# Every module but those that are for a user of the library they need.
IMPORT_ALL = """
import importlib, pkgutil, sys
import otel_sentry
names = [one.name for one in pkgutil.walk_packages(otel_sentry.__path__, "otel_sentry.")
         if not one.name.startswith(("otel_sentry.demo", "otel_sentry.testing.plugin"))
         and not one.name.endswith("__main__")]
broken = {}
for name in names:
    try:
        importlib.import_module(name)
    except Exception as error:
        broken[name] = repr(error)
print(len(names), broken)
"""


def clean(**settings):
    """Return an environment without settings of telemetry, and without paths to a source tree."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "SENTRY_", "PYTEST_", "PYTHON", "ENVIRONMENT", "COV_"))
    }
    return {**kept, **settings}


def run(*command, cwd=None, **settings):
    """Run a command to its end."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean(**settings),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_the_suite_passes_on_the_wheel(built, python, tmp_path):
    """Without the source, the core of the test suite passes on what pip has installed."""
    folder = unpack_without_package(built.sdist, tmp_path)
    where = run(python, "-c", "import otel_sentry; print(otel_sentry.__file__)", cwd=folder)
    assert where.stdout.startswith(str(python.parents[1])), where.stderr
    options = (
        "-q",
        "-p",
        "no:cacheprovider",
        "--deselect",
        "tests/test_imports.py::test_import_contracts",
    )
    done = run(python, "-m", "pytest", *options, *CORE, cwd=folder)
    assert done.returncode == 0, done.stdout


def test_a_minimal_install_imports_nothing_optional(minimal_python):
    """With the four requirements alone every module can be imported."""
    done = run(minimal_python, "-c", IMPORT_ALL)
    assert done.stdout.endswith(" {}\n"), done.stdout + done.stderr


def test_a_minimal_install_starts_applications(minimal_python, tmp_path):
    """With the four requirements alone the launcher starts an application, and its span arrives."""
    application = tmp_path / "job.py"
    application.write_text(
        "from opentelemetry import trace\n"
        "with trace.get_tracer('job').start_as_current_span('nightly'):\n"
        "    print('ran')\n"
    )
    launcher = minimal_python.with_name("opentelemetry-instrument")
    command = (launcher, minimal_python, application)

    off = run(*command, SENTRY_DSN="")
    assert (off.stdout, off.stderr, off.returncode) == ("ran\n", "", 0)
    with Receiver() as receiver:
        on = run(*command, SENTRY_DSN=receiver.dsn, SENTRY_TRACES_SAMPLE_RATE="1")
        [transaction] = receiver.transactions()
    assert (on.stdout, on.stderr, on.returncode) == ("ran\n", "", 0)
    assert transaction["transaction"] == "nightly"


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["--version"], 0, "otel-sentry "),
        (["doctor"], 1, "SENTRY_DSN is not set"),
        (["demo"], 2, "pip install 'otel-sentry[demo]'"),
        (["collector-config"], 0, "processors:"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_minimal_install_has_its_commands(minimal_python, tmp_path, command, status, said):
    """The commands work without the optional packages, or name the extra that brings them."""
    done = run(minimal_python.with_name("otel-sentry"), *command, cwd=tmp_path)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_types_from_outside(python, tmp_path, checker):
    """A program that uses the API is sound to the strictest settings, and a mistake is found."""
    if not Path(sys.executable).with_name(checker).exists():
        pytest.skip(f"pip install {checker}")
    sound, mistaken = tmp_path / "sound.py", tmp_path / "mistaken.py"
    sound.write_text(PROGRAM)
    mistaken.write_text(PROGRAM + MISTAKE)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = {
        "mypy": ["mypy", "--strict", "--python-executable", python, "--config-file", os.devnull],
        "pyright": ["pyright", "--pythonpath", python],
    }[checker]
    done = run(sys.executable, "-m", *command, sound.name, mistaken.name, cwd=tmp_path)
    problems = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(problems) == 1, done.stdout + done.stderr
    assert "mistaken.py" in problems[0]
    assert "capture_message" in problems[0]
