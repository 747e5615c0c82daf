"""The propagators: which headers are read and written?"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, error, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

_GROUP = "opentelemetry_propagator"
_UNSET = "unset OTEL_PROPAGATORS"
_INCLUDED = ("tracecontext", "baggage")
"""Propagators that ours takes the place of."""


def propagators(situation: Situation) -> Iterator[Finding]:
    """Is each name of OTEL_PROPAGATORS there, and is Sentry's among them?"""
    names = [
        name
        for name in (
            part.strip() for part in situation.environ.get("OTEL_PROPAGATORS", "").split(",")
        )
        if name
    ]
    text = situation.environ.get("OTEL_PROPAGATORS", "")
    if text and not all(part.strip() for part in text.split(",")):
        yield error(
            f"OTEL_PROPAGATORS={text!r} has an empty place, and the launcher does not start the"
            " application",
            f"set it to {','.join(names)}" if names else _UNSET,
        )
        return
    if not names:
        yield ok("traceparent, tracestate, sentry-trace and baggage are read and written")
        return
    if "none" in {name.lower() for name in names}:
        yield warning("OTEL_PROPAGATORS=none: no trace crosses a process", _UNSET)
        return
    problems = [finding for name in names if (finding := _problem(name))]
    yield from problems
    if "sentry" not in names:
        yield warning(
            f"OTEL_PROPAGATORS={','.join(names)} leaves sentry-trace unread and unwritten: services"
            " and frontends with a Sentry SDK have traces of their own",
            _UNSET,
        )
    elif not problems:
        included = " and ".join(name for name in _INCLUDED if name in names)
        yield ok(
            f"{', '.join(names)}; 'sentry' is that of otel-sentry"
            + (f" and takes the place of {included}" if included else "")
        )


def _problem(name: str) -> Finding | None:
    found = list(entry_points(group=_GROUP, name=name))
    if not found:
        known = sorted({one.name for one in entry_points(group=_GROUP)})
        close = get_close_matches(name, known, n=1)
        return error(
            f"OTEL_PROPAGATORS: {name!r} is not installed, and the launcher does not start the"
            " application",
            f"did you mean {close[0]}?" if close else _UNSET,
        )
    try:
        found[0].load()
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - it is somebody's module
        return error(
            f"OTEL_PROPAGATORS: {name!r} cannot be loaded ({type(problem).__name__}: {problem}),"
            " and the launcher does not start the application",
            _UNSET,
        )
    return None
