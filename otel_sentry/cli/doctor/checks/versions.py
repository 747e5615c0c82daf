"""What is installed, against the versions that this release was tested with."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, error, ok
from otel_sentry.cli.doctor._installed import normal, pip_install, requirements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.requirements import Requirement

    from otel_sentry.cli.doctor._situation import Situation

_OURS = "otel-sentry"


def versions(_: Situation) -> Iterator[Finding]:
    """Compare what otel-sentry, and what it needs in turn, requires with what is installed."""
    try:
        ours = distribution(_OURS)
    except PackageNotFoundError:
        yield error(
            f"otel-sentry is not installed in {sys.prefix}: the launcher does not know of it",
            pip_install("'otel-sentry[all]'"),
        )
        return
    wanted = ours.metadata["Requires-Python"]
    if wanted and not _satisfied(wanted, platform.python_version()):
        yield error(
            f"Python {platform.python_version()} is outside {wanted}",
            f"use a Python {wanted}",
        )
    wrong = list(_wrong())
    yield from wrong
    if not wrong:
        names = ("opentelemetry-sdk", "opentelemetry-instrumentation", "sentry-sdk")
        shown = ", ".join(f"{name} {distribution(name).version}" for name in names)
        yield ok(f"otel-sentry {ours.version}; {shown}: tested together")


def _wrong() -> Iterator[Finding]:
    """Yield what is missing, or untested, of what otel-sentry requires, and of that in turn."""
    waiting, wrong = [_OURS], set()
    for name in waiting:  # bound: what is installed
        for requirement in requirements(name):
            needed = normal(requirement.name)
            problem = "" if needed in wrong else _problem(requirement)
            if problem:
                wrong.add(needed)
                yield error(f"{problem}, which {name} needs", pip_install(f"'{requirement}'"))
            elif needed not in waiting and needed.startswith("opentelemetry-"):
                waiting.append(needed)


def _problem(requirement: Requirement) -> str:
    """Return what is wrong with what is required; empty: nothing."""
    try:
        found: str | None = distribution(requirement.name).version
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if found is None:
        return f"the installation of {requirement.name} is broken"
    if not requirement.specifier.contains(found, prereleases=True):
        return f"{requirement.name} {found} is outside {requirement.specifier}"
    return ""


def _satisfied(specifier: str, version: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)
