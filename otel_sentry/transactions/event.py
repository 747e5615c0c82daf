"""
Build a transaction event from a tree of spans: pure, no state, no clock.

Source: https://develop.sentry.dev/sdk/foundations/transport/event-payloads/transaction/ and
.../span/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.semantics import Meaning, extra_data, infer, sentry_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from otel_sentry.transactions.tree import Tree

_NANOSECONDS = 1e9
ORIGIN = "auto.otel"


def transaction_event(
    tree: Tree, dynamic_sampling_context: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the transaction of ``tree``: its root's name, source, trace context, and its spans."""
    root = tree.root
    attributes = root.attributes or {}
    meaning = infer(root.name, root.kind, attributes)
    trace = _trace(root, meaning)
    trace["data"] = _data(root)
    if dynamic_sampling_context:
        # sentry-sdk moves it into the envelope's header.
        trace["dynamic_sampling_context"] = dict(dynamic_sampling_context)
    links = [_link(link.context, link.attributes) for link in root.links]
    if links:
        trace["links"] = links
    event = {
        "type": "transaction",
        "transaction": meaning.name,
        "transaction_info": {"source": meaning.source},
        "start_timestamp": _seconds(root.start_time),
        "timestamp": _seconds(root.end_time),
        "contexts": {
            "trace": trace,
            "otel": {"resource": dict(root.resource.attributes)},
        },
        "spans": [_span(span) for span in tree.children],
        "platform": "python",
    }
    breadcrumbs = [crumb for span in (root, *tree.children) for crumb in _breadcrumbs(span)]
    if breadcrumbs:
        breadcrumbs.sort(key=lambda crumb: crumb["timestamp"])
        event["breadcrumbs"] = {"values": breadcrumbs[-100:]}
    return event


def _trace(span: ReadableSpan, meaning: Meaning) -> dict[str, Any]:
    """Return what a span and the trace context of an event have in common."""
    context: SpanContext = span.context
    found = {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "op": meaning.op,
        "status": sentry_status(span.status, span.attributes or {}),
        "origin": _origin(span),
    }
    if span.parent is not None:
        found["parent_span_id"] = f"{span.parent.span_id:016x}"
    return found


def _span(span: ReadableSpan) -> dict[str, Any]:
    meaning = infer(span.name, span.kind, span.attributes or {})
    found = _trace(span, meaning)
    found["description"] = meaning.description
    found["start_timestamp"] = _seconds(span.start_time)
    found["timestamp"] = _seconds(span.end_time)
    found["data"] = _data(span)
    return found


def _data(span: ReadableSpan) -> dict[str, Any]:
    attributes = span.attributes or {}
    data = {**attributes, **extra_data(span.kind, attributes), "otel.kind": span.kind.name.lower()}
    scope = span.instrumentation_scope
    if scope is not None:
        data["otel.scope.name"] = scope.name
        if scope.version:
            data["otel.scope.version"] = scope.version
    if span.status.description:
        data["otel.status_description"] = span.status.description
    return data


def _origin(span: ReadableSpan) -> str:
    """Return ``auto.otel.fastapi`` (https://develop.sentry.dev/sdk/telemetry/traces/trace-origin/)."""
    scope = span.instrumentation_scope
    name = scope.name if scope is not None else ""
    _, is_contrib, library = name.partition("opentelemetry.instrumentation.")
    return f"{ORIGIN}.{library.partition('.')[0]}" if is_contrib else "manual.otel"


def _link(context: SpanContext, attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "sampled": context.trace_flags.sampled,
        "attributes": dict(attributes or {}),
    }


def _breadcrumbs(span: ReadableSpan) -> list[dict[str, Any]]:
    """Return the span's events; exceptions are not among them, they arrive as errors."""
    return [
        {
            "type": "default",
            "category": "otel.event",
            "message": event.name,
            "timestamp": _seconds(event.timestamp),
            "data": dict(event.attributes or {}),
        }
        for event in span.events
        if event.name != "exception"
    ]


def _seconds(nanoseconds: int | None) -> float:
    return (nanoseconds or 0) / _NANOSECONDS
