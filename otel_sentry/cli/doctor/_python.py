"""Find the Python that a command runs in, and let the checks run there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, error, warning

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_PYTHON = re.compile(r"(?:python|pypy)[\d.]*(?:\.exe)?")
_RUNNERS = frozenset({"hatch", "pdm", "pipenv", "pixi", "poetry", "rye", "uv"})
_TIMEOUT_SECONDS = 30
_OLDEST = (3, 10)

# Our source and nothing beside it: what else is installed next to us is none of that Python's.
_BOOTSTRAP = """\
import importlib.util, sys
if importlib.util.find_spec("otel_sentry") is None:
    spec = importlib.util.spec_from_file_location("otel_sentry", sys.argv[1])
    module = sys.modules["otel_sentry"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
try:
    import otel_sentry.cli.doctor
except ImportError:
    sys.exit("otel-sentry in " + sys.prefix + " is older than its doctor: upgrade it with "
             + sys.executable + " -m pip install -U otel-sentry")
from otel_sentry.cli import main
sys.exit(main(sys.argv[2:]))
"""


def python_of(program: str, environ: Mapping[str, str]) -> str | Finding:
    """Return the Python that runs a program of PATH, or a finding that says why that is unclear."""
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None:
        return error(
            f"the command {program!r} is not on PATH",
            "activate the virtual environment of the application, or name the command by its path",
        )
    if _PYTHON.fullmatch(Path(path).name):
        return path
    interpreter = _of_script(path, environ)
    if interpreter is not None:
        return interpreter
    return warning(
        f"{program!r} is no Python script: the checks ran in {sys.executable}",
        f"{program} run otel-sentry doctor"
        if Path(program).name in _RUNNERS
        else "name the Python command that it starts",
    )


def is_this(python: str) -> bool:
    """Return whether a Python is the one we run in."""
    prefix = _ask(python, "import sys; print(sys.prefix)")
    return not prefix or Path(prefix).resolve() == Path(sys.prefix).resolve()


def too_old(python: str) -> Finding | None:
    """Return a finding where a Python is older than what we need."""
    version = _ask(python, "import sys; print(*sys.version_info[:2])")
    if tuple(int(part) for part in version.split()) >= _OLDEST:
        return None
    needed = ".".join(map(str, _OLDEST))
    return error(f"{python} is Python {version.replace(' ', '.')}", f"use Python {needed} or later")


def run_there(python: str, args: argparse.Namespace) -> int:
    """Run the same command line in another Python, and return its exit status."""
    flags = [f"--{name}" for name in ("json", "connect", "send") if getattr(args, name)]
    app = ["--app", args.app] if args.app else []
    source = Path(__file__).parents[2] / "__init__.py"
    line = [python, "-c", _BOOTSTRAP, str(source), "doctor", "--here", *flags, *app, "--"]
    done = subprocess.run([*line, *args.command], check=False)  # noqa: S603 - the application's Python
    return done.returncode


def _of_script(path: str, environ: Mapping[str, str]) -> str | None:
    """Return the interpreter that a script's first lines name."""
    try:
        with Path(path).open("rb") as file:
            first, second = (file.readline(4096).decode(errors="replace") for _ in range(2))
    except OSError:
        return None
    if not first.startswith("#!"):
        return None
    words = first.removeprefix("#!").split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-")]
        words = [shutil.which(words[0], path=environ.get("PATH")) or ""] if words else []
    if words and Path(words[0]).name == "sh":
        # pip writes this where the path is too long for a first line: '''exec' /path "$0" "$@"
        found = re.match(r"'''exec' \"?([^\"]+?)\"? \"\$0\"", second)
        words = [found[1]] if found else []
    return words[0] if words and _PYTHON.fullmatch(Path(words[0]).name) else None


def _ask(python: str, code: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the application's Python
            [python, "-c", code],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
