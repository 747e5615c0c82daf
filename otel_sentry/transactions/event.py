"""
Build a transaction event from a tree of spans: pure, no state, no clock.

Source: https://develop.sentry.dev/sdk/foundations/transport/event-payloads/transaction/ and
.../span/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.semantics import Meaning, extra_data, infer, sentry_status
from otel_sentry.transactions._plain import plain_mapping, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from otel_sentry.transactions.tree import Tree

_NANOSECONDS = 1e9
_MAX_BREADCRUMBS = 100  # sentry-sdk's default
ORIGIN = "auto.otel"


def transaction_event(
    tree: Tree, dynamic_sampling_context: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the transaction of ``tree``: its root's name, source, trace context, and its spans."""
    root = tree.root
    attributes = _attributes(root)
    meaning = infer(plain_text(root.name), root.kind, attributes)
    trace = _trace(root, meaning, attributes)
    trace["data"] = _data(root, attributes)
    if dynamic_sampling_context:
        # sentry-sdk moves it into the envelope's header.
        trace["dynamic_sampling_context"] = dict(dynamic_sampling_context)
    links = _links(root)
    if links:
        trace["links"] = links
    event = {
        "type": "transaction",
        "transaction": meaning.name,
        "transaction_info": {"source": meaning.source},
        "start_timestamp": _seconds(root.start_time),
        "timestamp": _end(root),
        "contexts": {
            "trace": trace,
            "otel": {"resource": plain_mapping(root.resource.attributes)},
        },
        "spans": [_span(span) for span in tree.children],
        "platform": "python",
    }
    breadcrumbs = [crumb for span in (root, *tree.children) for crumb in _breadcrumbs(span)]
    if breadcrumbs:
        breadcrumbs.sort(key=lambda crumb: crumb["timestamp"])
        event["breadcrumbs"] = {"values": breadcrumbs[-_MAX_BREADCRUMBS:]}
    return event


def outline(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what scopes, event processors and hooks need of a transaction: all but its data."""
    trace = event["contexts"]["trace"]
    return {
        **{key: value for key, value in event.items() if key not in {"spans", "breadcrumbs"}},
        "contexts": {"trace": {key: value for key, value in trace.items() if key != "data"}},
        "spans": [],
    }


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return a plain dictionary; each look into OpenTelemetry's own costs a Python call."""
    attributes: Any = span.attributes
    return plain_mapping(attributes.copy()) if attributes else {}


def _trace(span: ReadableSpan, meaning: Meaning, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return what a span and the trace context of an event have in common."""
    context: SpanContext = span.context
    found = {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "op": meaning.op,
        "status": sentry_status(span.status, attributes),
        "origin": _origin(span),
    }
    if span.parent is not None:
        found["parent_span_id"] = f"{span.parent.span_id:016x}"
    return found


def _span(span: ReadableSpan) -> dict[str, Any]:
    attributes = _attributes(span)
    meaning = infer(plain_text(span.name), span.kind, attributes)
    found = _trace(span, meaning, attributes)
    found["description"] = meaning.description
    found["start_timestamp"] = _seconds(span.start_time)
    found["timestamp"] = _end(span)
    found["data"] = _data(span, attributes)
    links = _links(span)
    if links:
        found["links"] = links
    return found


def _data(span: ReadableSpan, attributes: dict[str, Any]) -> dict[str, Any]:
    data = {**attributes, **extra_data(span.kind, attributes), "sentry.kind": span.kind.name.lower()}
    scope = span.instrumentation_scope
    if scope is not None:
        data["otel.scope.name"] = scope.name
        if scope.version:
            data["otel.scope.version"] = scope.version
    if span.status.description:
        data["sentry.status.message"] = plain_text(span.status.description)
    return data


def _origin(span: ReadableSpan) -> str:
    """Return ``auto.otel.fastapi`` (https://develop.sentry.dev/sdk/telemetry/traces/trace-origin/)."""
    scope = span.instrumentation_scope
    name = scope.name if scope is not None else ""
    _, is_contrib, library = name.partition("opentelemetry.instrumentation.")
    return f"{ORIGIN}.{library.partition('.')[0]}" if is_contrib else "manual.otel"


def _links(span: ReadableSpan) -> list[dict[str, Any]]:
    return [
        {
            "trace_id": f"{link.context.trace_id:032x}",
            "span_id": f"{link.context.span_id:016x}",
            "sampled": link.context.trace_flags.sampled,
            "attributes": plain_mapping(link.attributes or {}),
        }
        for link in span.links
    ]


def _breadcrumbs(span: ReadableSpan) -> list[dict[str, Any]]:
    """Return the span's events; exceptions are not among them, they arrive as errors."""
    return [
        {
            "type": "default",
            "category": "otel.event",
            "message": plain_text(event.name),
            "timestamp": _seconds(event.timestamp),
            "data": plain_mapping(event.attributes or {}),
        }
        for event in span.events
        if event.name != "exception"
    ]


def _end(span: ReadableSpan) -> float:
    # A clock that was set back: Relay refuses what ends before it starts.
    return _seconds(max(span.end_time or 0, span.start_time or 0))


def _seconds(nanoseconds: int | None) -> float:
    return (nanoseconds or 0) / _NANOSECONDS
