"""
Build the distribution, and install its wheel into environments without the source.

    python tests/packaging/environments.py [pytest's arguments]

runs the test suite of the sdist against the wheel. Nothing is downloaded: the packages that it
requires are those of the environment that runs this.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
OURS = "otel-sentry"
_PURE = Path(sysconfig.get_path("purelib"))


class Built(NamedTuple):
    """The two files of a release."""

    sdist: Path
    wheel: Path


def build(directory: Path) -> Built:
    """Build the sdist, and the wheel from the sdist."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    [sdist], [wheel] = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return Built(sdist, wheel)


def install_beside_everything(wheel: Path, directory: Path) -> Path:
    """Return the Python of an environment with the wheel and all that is installed here."""
    python = _create(directory)
    _site_packages(python).joinpath("here.pth").write_text(f"{_PURE}\n")
    _write_scripts(python, (one for one in distributions() if _name(one) != OURS))
    _install(wheel, python)
    return python


def install_minimal(wheel: Path, directory: Path) -> Path:
    """Return the Python of an environment with the wheel and what it requires, and no more."""
    python = _create(directory)
    required = _closure(OURS) - {OURS}
    for name in required:
        _copy(distribution(name), _site_packages(python))
    _write_scripts(python, map(distribution, required))
    _install(wheel, python)
    return python


def unpack_without_package(sdist: Path, directory: Path) -> Path:
    """Return the folder of the sdist, without the package: the wheel alone can be imported."""
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    [folder] = directory.glob("otel_sentry-*")
    shutil.rmtree(folder / "otel_sentry")
    return folder


def _create(directory: Path) -> Path:
    venv.create(directory, symlinks=True, with_pip=False)
    return directory / "bin" / "python"


def _install(wheel: Path, python: Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True)


def _site_packages(python: Path) -> Path:
    [found] = python.parents[1].glob("lib/python*/site-packages")
    return found


def _name(one: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", one.name).lower()


def _closure(name: str) -> set[str]:
    """Return the names of a distribution and all that it requires, without extras of ours."""
    found: set[str] = set()
    pending = [(name, "")]
    while pending:
        name, extra = pending.pop()
        found.add(name)
        for line in distribution(name).requires or ():
            one = Requirement(line)
            required = re.sub(r"[-_.]+", "-", one.name).lower()
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                pending += [(required, each) for each in ("", *one.extras) if required not in found]
    return found


def _copy(one: Distribution, site_packages: Path) -> None:
    # File by file: several distributions share the folder `opentelemetry`.
    for file in one.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = site_packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


def _write_scripts(python: Path, among: Iterable[Distribution]) -> None:
    for one in among:
        for entry_point in one.entry_points:
            if entry_point.group == "console_scripts":
                module, function = entry_point.value.split("[")[0].strip().split(":")
                script = python.with_name(entry_point.name)
                script.write_text(
                    f"#!{python}\nimport sys\nfrom {module} import {function.split('.')[0]}\n"
                    f"sys.exit({function}())\n"
                )
                script.chmod(0o755)


def main() -> int:
    """Run the suite of the sdist against the wheel."""
    with tempfile.TemporaryDirectory(prefix="otel-sentry-") as place:
        built = build(Path(place, "dist"))
        python = install_beside_everything(built.wheel, Path(place, "venv"))
        folder = unpack_without_package(built.sdist, Path(place, "sdist"))
        command = [str(python), "-m", "pytest", *sys.argv[1:]]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
