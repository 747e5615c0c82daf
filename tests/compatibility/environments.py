"""Make a virtual environment for a row, once; its name is a hash of what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.compatibility.rows import Row

ROOT = Path(__file__).parents[2]
_EXTRAS = "fastapi,sqlalchemy,redis,celery"
# What the table names; the rest follows from them.
SHOWN = ("sentry-sdk", "opentelemetry-sdk", "opentelemetry-instrumentation", "fastapi", "starlette")
SHOWN += ("uvicorn", "gunicorn", "sqlalchemy", "redis", "celery")

_LIST = """
import json, platform, importlib.metadata as m
found = {it.metadata["Name"].lower(): it.version for it in m.distributions()}
print(json.dumps({"python": platform.python_version(), **found}))
"""


class MissingPythonError(Exception):
    """The row's interpreter is not on this machine."""


def build_wheel(directory: Path) -> Path:
    """Build the wheel of this checkout: what is tested is what would be published."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(directory)]
    subprocess.run([*command, str(ROOT)], check=True)
    return next(directory.glob("*.whl"))


def make(row: Row, wheel: Path) -> Path:
    """
    Return the directory of the row's environment, with the wheel in it.

    Raises:
        MissingPythonError: See the class.
        subprocess.CalledProcessError: pip cannot install what the row asks for.
    """
    python = _find_python(row.python)
    key = hashlib.sha256("\n".join([python, *row.requirements, _declared(wheel)]).encode())
    home = _cache() / key.hexdigest()[:16]
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([python, "-m", "venv", "--without-pip", home], check=True)
        _pip(home, "install", f"{wheel}[{_EXTRAS}]", *row.requirements)
        (home / "complete").touch()
    else:
        _pip(home, "install", "--no-deps", "--force-reinstall", str(wheel))
    _pip(home, "check")
    return home


def versions(home: Path) -> dict[str, str]:
    """Return what is in an environment: versions by distribution, and of `python`."""
    command = [home / "bin/python", "-c", _LIST]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {name: found[name] for name in ("python", *SHOWN) if name in found}


def _pip(home: Path, *arguments: str) -> None:
    # This one's, for all: an interpreter may come with a pip that resolves by other rules.
    command = [sys.executable, "-m", "pip", "--python", str(home / "bin/python")]
    command += ["--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout)


def _declared(wheel: Path) -> str:
    """Return the dependencies that the wheel declares: others make another environment."""
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        name = next(it for it in archive.namelist() if it.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    return "\n".join(line for line in lines if line.startswith("Requires-Dist"))


def _find_python(version: str) -> str:
    if not version:
        return sys.executable
    homes = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    found = [str(it) for home in homes for it in home.glob(f"{version}.*/bin/python")]
    on_path = shutil.which(f"python{version}")
    for python in [*found, *([on_path] if on_path else [])]:
        # A shim of pyenv may be there without what it stands for.
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    raise MissingPythonError(version)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "otel-sentry" / "compatibility"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a directory for what one run leaves behind."""
    return tempfile.TemporaryDirectory(prefix="otel-sentry-compatibility-")
