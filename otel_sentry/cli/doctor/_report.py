"""Print findings for people and for programs, without any key."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from typing import TYPE_CHECKING, TextIO

from otel_sentry.__about__ import __version__
from otel_sentry.cli.doctor._finding import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Redact = Callable[[str], str]
    Findings = Mapping[str, list[Finding]]

_MARKS = {Level.OK: "✓", Level.WARNING: "!", Level.ERROR: "✗"}
_ASCII_MARKS = {Level.OK: "+", Level.WARNING: "!", Level.ERROR: "x"}
_COLORS = {Level.OK: "\x1b[32m", Level.WARNING: "\x1b[33m", Level.ERROR: "\x1b[31m"}
_NAMES = {Level.OK: "ok", Level.WARNING: "warning", Level.ERROR: "error"}
_NO_COLOR = "\x1b[0m"

_CREDENTIALS = re.compile(r"(?<=://)[^<>/@\s]+(?=@)")
# Sentry's keys have 32 hexadecimal digits; its tokens start with sntry and a letter.
_KEY = re.compile(r"\b[0-9a-fA-F]{32}\b|\bsntry[a-z]_[\w+/=.-]+")
_SECRET_VARIABLE = re.compile(r"HEADERS$|TOKEN|SECRET|PASSWORD|_KEY$|AUTH")
_MIN_SECRET = 6  # shorter values are parts of ordinary words
_COLUMN = 14


def redactor(environ: Mapping[str, str]) -> Redact:
    """Return a function that removes keys from a text, whatever check let one through."""
    secrets: set[str] = set()
    for name, value in environ.items():
        if name == "SENTRY_DSN":
            secrets.update(re.split(r"[:/@\s\"']+", value.partition("@")[0]))
        elif _SECRET_VARIABLE.search(name) and name.startswith(("OTEL_", "SENTRY_")):
            secrets.update(re.split(r"[,=\s]+", value))
    longest_first = sorted(filter(lambda one: len(one) >= _MIN_SECRET, secrets), key=len)[::-1]

    def redact(text: str) -> str:
        text = _CREDENTIALS.sub("***", text)
        for secret in longest_first:
            text = text.replace(secret, "***")
        return " ".join(_KEY.sub("***", text).split())

    return redact


def as_json(findings: Findings, redact: Redact) -> str:
    """Return the findings as one JSON object."""
    worst = max((one.level for some in findings.values() for one in some), default=Level.OK)
    shown = [
        {
            "check": name,
            "level": _NAMES[one.level],
            "text": redact(one.text),
            "fix": redact(one.fix) or None,
        }
        for name, some in findings.items()
        for one in some
    ]
    return json.dumps(
        {
            "version": __version__,
            "python": platform.python_version(),
            "executable": sys.executable,
            "level": _NAMES[worst],
            "findings": shown,
        },
        indent=2,
    )


def as_text(findings: Findings, redact: Redact, output: TextIO) -> str:
    """Return the findings as lines, as colourful as ``output`` and NO_COLOR allow."""
    encoding = getattr(output, "encoding", None) or "utf-8"
    marks = _MARKS if _can_say(encoding, "✓✗→") else _ASCII_MARKS
    arrow = "→" if marks is _MARKS else "->"
    terminal = output.isatty() and os.environ.get("TERM") != "dumb"
    color = terminal and not os.environ.get("NO_COLOR")
    lines = [f"otel-sentry {__version__}, Python {platform.python_version()}, {sys.executable}", ""]
    for name, some in findings.items():
        for one in some:
            mark = marks[one.level]
            mark = f"{_COLORS[one.level]}{mark}{_NO_COLOR}" if color else mark
            lines.append(f"{mark} {name:<{_COLUMN}} {redact(one.text)}")
            if one.fix:
                lines.append(f"  {'':<{_COLUMN}} {arrow} {redact(one.fix)}")
    lines += ["", _summary(findings)]
    text = "\n".join(lines)
    return text.encode(encoding, "replace").decode(encoding)


def _summary(findings: Findings) -> str:
    levels = [one.level for some in findings.values() for one in some]
    errors, warnings = levels.count(Level.ERROR), levels.count(Level.WARNING)
    if not errors and not warnings:
        return "All is well."
    counts = [
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return ", ".join(counts) + "."


def _can_say(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True
