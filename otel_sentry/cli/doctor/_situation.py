"""What is examined: an environment, a command, and the code that it starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.env_file import read_env_file
from otel_sentry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

LAUNCHER = "opentelemetry-instrument"

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_APPLICATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?:\(.*\))?")

# Flags of the launcher whose variable starts with OTEL_PYTHON_; that of any other with OTEL_.
_PYTHON_FLAGS = frozenset(
    {
        "auto_instrumentation_experimental_gevent_patch",
        "configurator",
        "context",
        "disabled_instrumentations",
        "distro",
        "id_generator",
        "meter_provider",
        "tracer_provider",
    }
)

# Options of servers that name the directory of the application.
_DIRECTORIES = frozenset({"--app-dir", "--chdir", "--workdir"})


@dataclass(frozen=True)
class Situation:
    """What the checks look at."""

    environ: Mapping[str, str]
    """With what the launcher's flags, `env` and OTEL_SENTRY_ENV_FILE add."""

    directory: Path
    command: tuple[str, ...] = ()
    """Without `env` and the launcher in front."""

    launched: bool = False
    """Whether the launcher stands in front of the command."""

    app: str = ""
    """A module, a module and an attribute (`app:app`), or a file."""

    connect: bool = False
    send: bool = False

    @cached_property
    def settings(self) -> Settings:
        """What the bridge would make of the environment."""
        return Settings.from_env(self.environ)


def understand(
    environ: Mapping[str, str],
    directory: Path,
    command: list[str],
    *,
    app: str = "",
    connect: bool = False,
    send: bool = False,
) -> Situation:
    """Return the situation that a start of the command in this environment would be."""
    words, added = _without_env(list(command))
    launched = bool(words) and Path(words[0]).name == LAUNCHER
    if launched:
        words, flags = _without_flags(words[1:])
        added |= flags
    merged = {**environ, **added}
    path = merged.get("OTEL_SENTRY_ENV_FILE", "").strip()
    if path and Path(directory, path).is_file():
        merged = {**read_env_file(str(Path(directory, path))), **merged}
    situation = Situation(
        merged, directory, tuple(words), launched, connect=connect or send, send=send
    )
    directory = _working_directory(situation)
    return replace(situation, directory=directory, app=app or application_of(situation.command))


def application_of(command: tuple[str, ...]) -> str:
    """Return what a command runs: `app:app`, a module, or a script; empty if that is unclear."""
    for word, following in zip(command, (*command[1:], ""), strict=False):
        if word in {"-A", "--app", "-m"} and following and not _is_server(following):
            return following
        if word.startswith("--app="):
            return word.removeprefix("--app=")
        if _APPLICATION.fullmatch(word) or (word.endswith(".py") and not word.startswith("-")):
            return word
    return ""


def _is_server(module: str) -> bool:
    return module in {"uvicorn", "gunicorn", "celery", "hypercorn", "granian", "flask", "fastapi"}


def _without_env(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the words behind `env NAME=value`, and what that sets."""
    added = {}
    if words and Path(words[0]).name == "env":
        words = words[1:]
    while words and _ASSIGNMENT.match(words[0]):
        name, _, value = words[0].partition("=")
        added[name] = value
        words = words[1:]
    return words, added


def _without_flags(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the words behind the launcher's flags, and the variables that these set."""
    added: dict[str, str] = {}
    while words and words[0].startswith("--"):
        if words[0] == "--":  # what follows is the command
            return words[1:], added
        flag, has_value, value = words[0].removeprefix("--").partition("=")
        words = words[1:]
        if not has_value and words:
            value, words = words[0], words[1:]
        prefix = "OTEL_PYTHON_" if flag in _PYTHON_FLAGS else "OTEL_"
        added[prefix + flag.upper()] = value
    return words, added


def _working_directory(situation: Situation) -> Path:
    for word, following in pairwise(situation.command):
        if word in _DIRECTORIES and Path(situation.directory, following).is_dir():
            return situation.directory / following
    return situation.directory
