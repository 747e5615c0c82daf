"""
Real virtual environments, put together in a fraction of a second.

Packages are links to those of the environment that runs the tests, or made up here as what pip
leaves behind of a wheel: modules and a ``dist-info`` directory.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[3]
KEY = "0123456789abcdef0123456789abcdef"


class Environment:
    """A virtual environment, and a directory with an application to run the doctor in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        venv.create(path / "venv", symlinks=True)
        self.bin = path / "venv" / "bin"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = path / "venv" / "lib" / version / "site-packages"
        self.earlier = path / "earlier"
        self.work = path / "work"
        for directory in (self.earlier, self.work):
            directory.mkdir()

    def link(self, *names: str, without: tuple[str, ...] = ()) -> Environment:
        """Install distributions with all they need, but those named."""
        waiting, seen = list(names), set(without)
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            self._link(name)
            for text in importlib.metadata.requires(name) or ():
                requirement = Requirement(text)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    waiting.append(re.sub(r"[-_.]+", "-", requirement.name).lower())
        return self

    def _link(self, name: str) -> None:
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and source.exists():
                target = self.packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.symlink_to(source)
                # Compiled already: else each run of the doctor would compile all of it.
                cache, linked = source.parent / "__pycache__", target.parent / "__pycache__"
                if cache.is_dir() and not linked.exists() and target.parent != self.packages:
                    linked.symlink_to(cache)

    def with_otel_sentry(self, *more: str, without: tuple[str, ...] = ()) -> Environment:
        """Install otel-sentry as `pip install -e` does, with what it needs."""
        self.link("otel-sentry", *more, without=without)
        (self.packages / "otel_sentry.pth").write_text(f"{ROOT}\n")
        self.script("opentelemetry-instrument")
        self.script("otel-sentry", "import sys; from otel_sentry.cli import main; sys.exit(main())")
        return self

    def script(self, name: str, code: str = "") -> None:
        """Put a script next to the environment's Python."""
        path = self.bin / name
        path.write_text(f"#!{self.bin / 'python'}\n{code}\n")
        path.chmod(0o755)

    def fake(
        self,
        name: str,
        version: str = "1.0",
        *,
        entry_points: str = "",
        modules: Mapping[str, str] | None = None,
        requires: tuple[str, ...] = (),
        first: bool = False,
    ) -> Environment:
        """
        Install a made-up distribution.

        Args:
            name: Its name.
            version: Its version.
            entry_points: Lines of `entry_points.txt`.
            modules: File names with their content.
            requires: Lines of `Requires-Dist`.
            first: On the path before everything else.
        """
        where = self.earlier if first else self.packages
        for old in where.glob(f"{name.replace('-', '_')}-*.dist-info"):
            shutil.rmtree(old)
        info = where / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
        lines += ["Provides-Extra: instruments"] if requires else []
        lines += [f"Requires-Dist: {one}" for one in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        if entry_points:
            (info / "entry_points.txt").write_text(entry_points)
        for file, content in (modules or {}).items():
            (where / file).write_text(content)
        return self

    def doctor(self, *arguments: str, program: str = "", **environ: str) -> tuple[int, str, str]:
        """Run `otel-sentry doctor` there; return exit status, output and complaints."""
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("OTEL_", "SENTRY_", "PYTEST_", "PYTHON", "VIRTUAL_ENV"))
        }
        clean |= {"PATH": f"{self.bin}{os.pathsep}{os.defpath}", "PYTHONIOENCODING": "utf-8"}
        clean |= {"PYTHONDONTWRITEBYTECODE": "1"}
        if any(self.earlier.iterdir()):
            clean["PYTHONPATH"] = str(self.earlier)
        done = subprocess.run(
            [program or str(self.bin / "otel-sentry"), "doctor", *arguments],
            cwd=self.work,
            env={**clean, **environ},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def plain(self, output: str) -> str:
        """Return an output without what differs between machines: paths, versions, ports."""
        for path, name in ((self.path, "<here>"), (ROOT, "<source>")):
            output = output.replace(str(path), name)
        output = re.sub(r"(?<=127\.0\.0\.1:)\d+", "<port>", output)
        output = re.sub(r"Name or service not known|Temporary failure.*", "<no such host>", output)
        output = re.sub(r"(?<=Python )\d[\w.]*", "<version>", output)
        return re.sub(
            r"(?<=[a-z] )\d+\.\d+(?:\.\d+|b\d+)*(?=[ ,;]|$)(?! is used)", "<version>", output
        )
