"""The launcher, and what it will set up: it asks entry points, in the order of the path."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, error, ok, warning
from otel_sentry.cli.doctor._installed import pip_check, pip_install, pip_uninstall
from otel_sentry.cli.doctor._situation import LAUNCHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

_OURS = "otel-sentry"


def launcher(situation: Situation) -> Iterator[Finding]:
    """Is the launcher there, in this Python, and in front of the command?"""
    beside = Path(sys.executable).with_name(LAUNCHER)
    on_path = shutil.which(LAUNCHER, path=situation.environ.get("PATH"))
    if not beside.exists():
        yield error(
            f"{LAUNCHER} is not installed beside {sys.executable}",
            pip_install("--force-reinstall opentelemetry-instrumentation"),
        )
    elif on_path is not None and Path(on_path).resolve() != beside.resolve():
        yield warning(
            f"{LAUNCHER} on PATH is that of another environment: {on_path}",
            f"start with {beside}",
        )
    yield from _modules_of_variables()
    if not situation.command:
        yield ok(f"no command given; {LAUNCHER} starts an application with tracing")
    elif situation.launched:
        yield ok(f"{LAUNCHER} stands in front of the command")
    elif not _starts_itself(situation):
        yield error(
            f"the command starts without {LAUNCHER}, and its code does not call"
            " otel_sentry.init(): nothing is traced",
            f"{LAUNCHER} {' '.join(situation.command)}",
        )
    else:
        yield ok("the application calls otel_sentry.init()")


def _starts_itself(situation: Situation) -> bool:
    from otel_sentry.cli.doctor._code import calls_of

    return any(call.name == "otel_sentry.init" for call in calls_of(situation))


def _modules_of_variables() -> Iterator[Finding]:
    """Find what the launcher imports for its flags: one that fails stops the application."""
    for entry_point in entry_points(group="opentelemetry_environment_variables"):
        problem = _problem(entry_point)
        if problem:
            yield error(
                f"the launcher will not start the application: {_named(entry_point)} cannot be"
                f" loaded ({problem})",
                pip_uninstall(_distribution_of(entry_point)),
            )


def distribution(situation: Situation) -> Iterator[Finding]:
    """Which distribution does the launcher take?"""
    yield from _taken(situation, "distribution", "opentelemetry_distro", "OTEL_PYTHON_DISTRO")


def configurator(situation: Situation) -> Iterator[Finding]:
    """Which configurator does the launcher take?"""
    yield from _taken(
        situation, "configurator", "opentelemetry_configurator", "OTEL_PYTHON_CONFIGURATOR"
    )


def _taken(situation: Situation, what: str, group: str, variable: str) -> Iterator[Finding]:
    """Do what the launcher does: take the first that has the name, or the first of all."""
    chosen = situation.environ.get(variable)
    found = list(entry_points(group=group))
    ours = [one for one in found if _distribution_of(one) == _OURS]
    matching = [one for one in found if chosen is None or one.name == chosen]
    if not ours:
        yield error(
            f"the {what} of otel-sentry is not registered"
            + (f"; {_named(matching[0])} is taken" if matching else ""),
            pip_install("--force-reinstall --no-deps otel-sentry"),
        )
        return
    if not matching:
        yield error(f"{variable}={chosen} names no installed {what}", f"unset {variable}")
        return
    first = matching[0]
    problem = _problem(first)
    others = ", ".join(_named(one) for one in found if one not in ours)
    broken_list = "OTEL_PROPAGATORS" if problem.startswith("ValueError: Propagator ") else ""
    fix = f"export {variable}=sentry" + (f", or {_removal(first)}" if first not in ours else "")
    if problem:
        yield error(
            f"{_named(first)} is taken and cannot be loaded ({problem}): nothing is set up",
            fix if first not in ours else f"correct {broken_list}" if broken_list else pip_check(),
        )
    elif first not in ours:
        yield error(f"{_named(first)} is taken, not that of otel-sentry", fix)
    elif others and chosen is None:
        yield warning(
            f"that of otel-sentry is taken; also installed: {others}. Their order may change",
            f"export {variable}=sentry",
        )
    else:
        yield ok(f"that of otel-sentry is taken{f'; also installed: {others}' if others else ''}")


def _problem(entry_point: EntryPoint) -> str:
    """Return why an entry point cannot be loaded; empty if it can."""
    try:
        entry_point.load()
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - it is somebody's module
        return f"{type(problem).__name__}: {problem}"
    return ""


def _distribution_of(entry_point: EntryPoint) -> str:
    return entry_point.dist.metadata["Name"] if entry_point.dist is not None else "?"


def _removal(entry_point: EntryPoint) -> str:
    return pip_uninstall(_distribution_of(entry_point))


def _named(entry_point: EntryPoint) -> str:
    return f"{entry_point.name!r} of {_distribution_of(entry_point)}"
