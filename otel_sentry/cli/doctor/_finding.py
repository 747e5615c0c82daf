"""What a check returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is; the worst one is the exit status."""

    OK = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """One line, and one line that mends it where there is something to mend."""

    level: Level
    text: str
    fix: str = ""


def ok(text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, text)


def warning(text: str, fix: str) -> Finding:
    """Return a finding that something is not as one would expect, and how to mend it."""
    return Finding(Level.WARNING, text, fix)


def error(text: str, fix: str) -> Finding:
    """Return a finding that something does not work, and how to mend it."""
    return Finding(Level.ERROR, text, fix)
