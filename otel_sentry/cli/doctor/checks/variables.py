"""The environment variables: do they parse, and does anybody read them?"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, error, ok, warning
from otel_sentry.variables import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation
    from otel_sentry.variables import Variable

_OURS = "OTEL_SENTRY_"

# How alike a name must be to a known one to be taken for a slip of the keyboard.
_ALIKE = 0.9
_ALIKE_OURS = 0.75

# What sentry-sdk reads besides.
_OF_SENTRY_SDK = frozenset({"SENTRY_SPOTLIGHT", "SENTRY_KEEP_ALIVE", "SENTRY_TRACING_IGNORE"})


def variables(situation: Situation) -> Iterator[Finding]:
    """Does each variable have a value that can be read, and a name that is known?"""
    findings = [
        *_switched_off(situation),
        *_env_file(situation),
        *_config_file(situation),
        *_values(situation),
        *_unknown(situation),
    ]
    if not findings:
        known = [
            one.name
            for one in VARIABLES
            if situation.environ.get(one.name, "").strip() and not one.secret
        ]
        findings = [ok(f"set and understood: {', '.join(known) or 'none'}")]
    yield from findings


def _switched_off(situation: Situation) -> Iterator[Finding]:
    if situation.settings.sdk_disabled:
        yield warning("OTEL_SDK_DISABLED=true switches everything off", "unset OTEL_SDK_DISABLED")


def _env_file(situation: Situation) -> Iterator[Finding]:
    path = situation.environ.get("OTEL_SENTRY_ENV_FILE", "").strip()
    if path and not Path(situation.directory, path).is_file():
        yield error(
            f"OTEL_SENTRY_ENV_FILE={path} is no file", "set it to the path of a readable file"
        )


def _config_file(situation: Situation) -> Iterator[Finding]:
    path = situation.environ.get("OTEL_CONFIG_FILE", "").strip()
    if path and not Path(situation.directory, path).is_file():
        yield error(f"OTEL_CONFIG_FILE={path} is no file", "set it to the path of a readable file")
    elif path:
        yield warning(
            f"sampler, propagators and backends are what OTEL_CONFIG_FILE={path} says; below they"
            " are examined as if it were not there",
            "read them there, or unset OTEL_CONFIG_FILE",
        )


def _values(situation: Situation) -> Iterator[Finding]:
    for variable in VARIABLES:
        text = situation.environ.get(variable.name, "").strip()
        if text and not variable.secret:  # the DSN has a check of its own
            yield from _value(variable, text)


def _value(variable: Variable, text: str) -> Iterator[Finding]:
    try:
        variable.parse(text)
    except ValueError as problem:
        reason = str(problem) if str(problem).startswith("it") else "it cannot be read"
        yield error(
            f"{variable.name}={text} is ignored: {reason}; {variable.default!r} is used",
            f"set {variable.name} to {variable.fix}",
        )


def _unknown(situation: Situation) -> Iterator[Finding]:
    known = {one.name for one in VARIABLES}
    everything = sorted(known | _OF_SENTRY_SDK | _registered())
    for name in sorted(situation.environ):
        if name in everything or not name.startswith(("OTEL_", "SENTRY_")):
            continue
        ours = name.startswith(_OURS)
        close = get_close_matches(name, everything, n=1, cutoff=_ALIKE_OURS if ours else _ALIKE)
        if close:
            yield warning(
                f"{name} is read by nobody. Did you mean {close[0]}?",
                f"rename {name} to {close[0]}",
            )
        elif ours:
            yield warning(f"{name} is read by nobody", f"unset {name}")


def _registered() -> set[str]:
    """Return the names that OpenTelemetry's packages register, as far as they can be loaded."""
    from importlib.metadata import entry_points

    names: set[str] = set()
    for entry_point in entry_points(group="opentelemetry_environment_variables"):
        try:
            names.update(name for name in dir(entry_point.load()) if name.startswith("OTEL_"))
        except (Exception, SystemExit):  # noqa: BLE001, PERF203, S112 - `launcher` names it
            continue
    return names
