"""Make the propagators that a list names, by their entry points, ours where it says ``sentry``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_sentry._logging import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.propagators.textmap import TextMapPropagator


# Ours reads and writes their headers, too. Beside it they would continue what it refuses, write
# where it writes nothing, and write their `baggage` over Sentry's.
_INCLUDED = (TraceContextTextMapPropagator, W3CBaggagePropagator)


def listed(
    named: Mapping[str, Mapping[str, Any] | None], ours: TextMapPropagator, where: str
) -> list[TextMapPropagator]:
    """
    Return the propagators of a list, in its order; none of them where it says ``none``.

    Others' headers (B3, ...) are read before ours, so that ours count where both came.
    One that cannot be had is one warning, and the others count; if that is all of them, ours does.

    Args:
        named: Names, each with the arguments of the propagator.
        ours: For ``sentry``; sentry-sdk registers one of the same name.
        where: Names the list in warnings: ``OTEL_PROPAGATORS``.
    """
    if "none" in map(str.lower, named):
        return []
    made = [
        _made(name, arguments or {}, where) for name, arguments in named.items() if name != "sentry"
    ]
    others = [one for one in made if one is not None]
    if "sentry" in named:
        return [*(one for one in others if type(one) not in _INCLUDED), ours]
    return others or [ours]


def _made(name: str, arguments: Mapping[str, Any], where: str) -> TextMapPropagator | None:
    from importlib.metadata import entry_points

    try:
        found = next(iter(entry_points(group="opentelemetry_propagator", name=name)), None)
        if found is not None:
            propagator: TextMapPropagator = found.load()(**arguments)
            return propagator
        reason = "it is not installed"
    except Exception as error:  # noqa: BLE001 - it is somebody's module
        reason = f"it cannot be loaded ({type(error).__name__}: {error})"
    logger.warning(
        "%s: the propagator %s is ignored: %s. Install the package that brings it, or take it out"
        " of the list.",
        where,
        name,
        reason,
    )
    return None


def names_in(text: str) -> dict[str, None]:
    """Return the names of a comma-separated list, each once, in order."""
    return dict.fromkeys(name for name in map(str.strip, text.split(",")) if name)
