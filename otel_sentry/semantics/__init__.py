"""
Translate OpenTelemetry's semantic conventions into Sentry's words: op, name, source, status, data.

Pure functions; one module a convention. Each understands the old and the new attribute names, and
none raises, whatever an application wrote into attributes. What Sentry's words mean:
https://develop.sentry.dev/sdk/telemetry/traces/span-operations/ and
https://getsentry.github.io/sentry-conventions/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otel_sentry.semantics import calls, db, gen_ai, http, messaging, network
from otel_sentry.semantics._meaning import Meaning, text
from otel_sentry.semantics.status import sentry_status

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Meaning", "extra_data", "infer", "sentry_status"]

MAX_NAME = 200
"""Sentry's limit of a transaction's name; longer ones would be cut where they arrive."""

MAX_OP = 128
"""Sentry's limit of an op."""

UNNAMED = "<unlabeled transaction>"
"""What Sentry itself calls a transaction without a name."""

# The order matters where a span follows two conventions: Elasticsearch's client speaks HTTP,
# Bedrock's, DynamoDB's and SQS' is the RPC client of AWS. The more special one is first.
_CONVENTIONS = (db.meaning, http.meaning, gen_ai.meaning, messaging.meaning, calls.meaning)


def infer(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning:
    """
    Return what Sentry calls a span; works on what a span knows at its start and at its end.

    An explicit ``sentry.op``, ``sentry.name``, ``sentry.description`` or ``sentry.source`` wins.

    Args:
        name: The span's name.
        kind: The span's kind.
        attributes: The span's attributes, in old or new semantic conventions.
    """
    if not isinstance(name, str):
        name = ""
    for convention in _CONVENTIONS:
        meaning = convention(name, kind, attributes)
        if meaning is not None:
            break
    else:
        op, source = _by_kind(kind)
        meaning = Meaning(op, name, name, source)
    if not _EXPLICIT_KEYS.isdisjoint(attributes):
        meaning = meaning._replace(**_explicit(attributes))
    if not meaning.description or not 0 < len(meaning.name) <= MAX_NAME:
        meaning = _bounded(meaning)
    return meaning


def _by_kind(kind: SpanKind) -> tuple[str, str]:
    """
    Return op and source of a span that follows no convention.

    An internal span is code of the application that ran: Sentry's general op for that is
    ``function``, which is also what ``@sentry_sdk.trace`` sends. For a call of an unknown kind
    that would be wrong; there the op is ``default``, as Relay and Sentry's JavaScript SDK call
    every span they know nothing of.
    """
    if kind is SpanKind.INTERNAL:
        return "function", "custom"
    if kind is SpanKind.CONSUMER:
        return "queue.process", "task"
    return ("queue.publish" if kind is SpanKind.PRODUCER else "default"), "custom"


def _explicit(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the application says itself, in the fields of :class:`Meaning`."""
    explicit: dict[str, Any] = {
        field: value for field, keys in _EXPLICIT if (value := text(attributes, *keys))
    }
    if explicit.get("source", "custom") not in _SOURCES:
        del explicit["source"]
    if "name" in explicit:
        explicit.setdefault("source", "custom")
    if "op" in explicit:
        explicit["op"] = explicit["op"][:MAX_OP]
    return explicit


_EXPLICIT = (
    ("op", ("sentry.op",)),
    ("name", ("sentry.name", "sentry.segment.name")),
    ("description", ("sentry.description",)),
    ("source", ("sentry.source", "sentry.segment.name.source")),
)

_EXPLICIT_KEYS = frozenset(key for _, keys in _EXPLICIT for key in keys)

_SOURCES = frozenset({"component", "custom", "route", "task", "url", "view"})


def _bounded(meaning: Meaning) -> Meaning:
    """Return the meaning with a name that Sentry takes, and no field empty."""
    name = meaning.name or UNNAMED
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME - 3]}..."
    return meaning._replace(name=name, description=meaning.description or name)


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the keys that Sentry's pages read, under the names that Sentry's conventions have today.

    The same keys and values come out of old and new semantic conventions. Large values (a
    statement, an URL) are not repeated under a second name.
    """
    data = network.extra_data(kind, attributes)
    data["sentry.kind"] = _KINDS[kind.value]
    for part in _DATA:
        data.update(part(kind, attributes))
    return data


_DATA = (http.extra_data, db.extra_data, gen_ai.extra_data, messaging.extra_data, calls.extra_data)

# Not a dictionary: to hash a member of an enumeration costs a call of a Python function.
_KINDS = tuple(kind.name.lower() for kind in sorted(SpanKind, key=lambda kind: kind.value))
