"""Put our propagator among those that the user names; no part of what the launcher imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.propagators.textmap import TextMapPropagator

# Ours reads and writes their headers, too. Beside it they would continue what it refuses, write
# where it writes nothing, and write their `baggage` over Sentry's.
_INCLUDED = (TraceContextTextMapPropagator, W3CBaggagePropagator)


def with_ours(ours: TextMapPropagator) -> TextMapPropagator:
    """
    Return the propagators that OpenTelemetry was told to use, ours where ``sentry`` is among them.

    Others' headers (B3, ...) are read before ours, so that ours count where both came.
    """
    chosen = propagate.get_global_textmap()
    listed = getattr(chosen, "_propagators", [chosen])
    # By name: sentry-sdk registers one of the same name, and either may have been found.
    others = [one for one in listed if type(one).__name__ != "SentryPropagator"]
    if len(others) == len(listed):
        return chosen
    return CompositePropagator([*(one for one in others if type(one) not in _INCLUDED), ours])
