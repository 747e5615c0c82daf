"""Run the checks, each behind a guard, in the Python of the command; print what they found."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor import _python
from otel_sentry.cli.doctor._finding import Finding, Level, warning
from otel_sentry.cli.doctor._installed import pip_check
from otel_sentry.cli.doctor._report import as_json, as_text, redactor
from otel_sentry.cli.doctor._situation import Situation, understand
from otel_sentry.cli.doctor.checks import CHECKS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    Check = Callable[[Situation], Iterable[Finding]]


def examine(args: argparse.Namespace) -> int:
    """Print the findings and return the worst level."""
    situation = understand(
        os.environ,
        Path.cwd(),
        args.command,
        app=args.app or "",
        connect=args.connect,
        send=args.send,
    )
    unclear: list[Finding] = []
    if situation.command and not args.here:
        found = _python.python_of(situation.command[0], situation.environ)
        if isinstance(found, Finding):
            unclear = [found]
        elif not _python.is_this(found):
            old = _python.too_old(found)
            if old is None:
                return _python.run_there(found, args)
            return _print({"python": [old]}, situation, args)
    findings = {"python": unclear} if unclear else {}
    for name, check in CHECKS:
        findings.setdefault(name, []).extend(run_check(check, situation))
    return _print(findings, situation, args)


def _print(
    findings: dict[str, list[Finding]], situation: Situation, args: argparse.Namespace
) -> int:
    redact = redactor(situation.environ)
    print(as_json(findings, redact) if args.json else as_text(findings, redact, sys.stdout))
    return max((one.level for some in findings.values() for one in some), default=Level.OK).value


def run_check(check: Check, situation: Situation) -> list[Finding]:
    """
    Return what a check finds; that it failed is a finding, too.

    What the modules that it loads print, log or warn of is not for the reader: a check says what
    matters of it.
    """
    findings: list[Finding] = []
    silent = io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(silent),
            contextlib.redirect_stderr(silent),
        ):
            warnings.simplefilter("ignore")
            findings += check(situation)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever is broken here is what we are asked for
        findings.append(
            warning(
                f"this could not be checked: {type(problem).__name__}: {problem}",
                pip_check(),
            )
        )
    finally:
        logging.disable(logging.NOTSET)
    return findings
