"""
Translate OpenTelemetry's semantic conventions into Sentry's words: op, name, source, status, data.

Pure functions; one module a convention. Each understands the old and the new attribute names.
What Sentry's words mean: https://develop.sentry.dev/sdk/telemetry/traces/span-operations/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.semantics import calls, db, http, messaging
from otel_sentry.semantics._meaning import Meaning
from otel_sentry.semantics.status import sentry_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import SpanKind

__all__ = ["Meaning", "extra_data", "infer", "sentry_status"]

_CONVENTIONS = (http.meaning, db.meaning, messaging.meaning, calls.meaning)


def infer(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning:
    """
    Return what Sentry calls a span; works on what a span knows at its start and at its end.

    An explicit ``sentry.op``, ``sentry.name``, ``sentry.description`` or ``sentry.source`` wins.

    Args:
        name: The span's name.
        kind: The span's kind.
        attributes: The span's attributes, in old or new semantic conventions.
    """
    for convention in _CONVENTIONS:
        meaning = convention(name, kind, attributes)
        if meaning is not None:
            break
    else:
        meaning = Meaning(op=_DEFAULT_OP, description=name, name=name, source="custom")
    return _explicit(meaning, attributes)


_DEFAULT_OP = "function"


def _explicit(meaning: Meaning, attributes: Mapping[str, Any]) -> Meaning:
    explicit: dict[str, Any] = {
        field: value
        for key, field in _EXPLICIT.items()
        if isinstance(value := attributes.get(key), str) and value
    }
    if not explicit:
        return meaning
    if "name" in explicit:
        explicit.setdefault("source", "custom")
    return meaning._replace(**explicit)


_EXPLICIT = {
    "sentry.op": "op",
    "sentry.name": "name",
    "sentry.description": "description",
    "sentry.source": "source",
}


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that Sentry's pages read and that the span has under another name."""
    return {**http.extra_data(attributes), **messaging.extra_data(kind, attributes)}
