"""
Build a transaction event from a tree of spans: no state, no clock.

Source: https://develop.sentry.dev/sdk/foundations/transport/event-payloads/transaction/ and
.../span/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_sentry.transactions.translate import Translator
    from otel_sentry.transactions.tree import Tree

_NANOSECONDS = 1e9
_MAX_BREADCRUMBS = 100  # sentry-sdk's default


def transaction_event(tree: Tree, translate: Translator) -> dict[str, Any] | None:
    """
    Return the transaction of ``tree``: its root's name, source, trace context, and its spans.

    It is plain and scrubbed: it can be written as JSON as it is. ``None`` where the root is noise.
    """
    root = tree.root
    words = translate(root)
    if words.is_noise:
        return None
    trace = {**_ids(root), **words.fields}
    del trace["description"]
    links = _links(root, translate)
    if links:
        trace["links"] = links
    event: dict[str, Any] = {
        "type": "transaction",
        "transaction": words.name,
        "transaction_info": {"source": words.source},
        "start_timestamp": _seconds(root.start_time),
        "timestamp": _end(root),
        "contexts": {"trace": trace, "otel": {"resource": translate.resource(root.resource)}},
        "spans": [
            _span(span, said.fields, translate)
            for span in tree.children
            if not (said := translate(span)).is_noise
        ],
        "platform": "python",
    }
    status_code = trace["data"].get("http.response.status_code")
    if status_code is not None:
        event["contexts"]["response"] = {"status_code": status_code}
    breadcrumbs = [
        crumb
        for span in (root, *tree.children)
        if span.events
        for crumb in _breadcrumbs(span, translate)
    ]
    if breadcrumbs:
        breadcrumbs.sort(key=lambda crumb: crumb["timestamp"])
        event["breadcrumbs"] = {"values": breadcrumbs[-_MAX_BREADCRUMBS:]}
    return event


def outline(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what scopes and event processors go by: the name and the ids, and no data."""
    trace = event["contexts"]["trace"]
    kept = ("type", "transaction", "transaction_info", "timestamp", "platform")
    return {
        **{key: event[key] for key in kept},
        "contexts": {"trace": {key: trace[key] for key in ("trace_id", "span_id", "op")}},
        # Not empty, so that sentry-sdk does not fill it in, only to serialise it each time.
        "sdk": {"name": "otel-sentry"},
    }


def _ids(span: ReadableSpan) -> dict[str, Any]:
    context = span.context
    found = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    if span.parent is not None:
        found["parent_span_id"] = f"{span.parent.span_id:016x}"
    return found


def _span(span: ReadableSpan, fields: dict[str, Any], translate: Translator) -> dict[str, Any]:
    found = {
        **_ids(span),
        **fields,
        "start_timestamp": _seconds(span.start_time),
        "timestamp": _end(span),
    }
    if span.links:
        found["links"] = _links(span, translate)
    return found


def _links(span: ReadableSpan, translate: Translator) -> list[dict[str, Any]]:
    return [
        {
            "trace_id": f"{link.context.trace_id:032x}",
            "span_id": f"{link.context.span_id:016x}",
            "sampled": link.context.trace_flags.sampled,
            "attributes": translate.attributes(link.attributes or {}),
        }
        for link in span.links
    ]


def _breadcrumbs(span: ReadableSpan, translate: Translator) -> list[dict[str, Any]]:
    """Return the span's events; exceptions are not among them, they arrive as errors."""
    return [
        {
            "type": "default",
            "category": "otel.event",
            "message": translate.text(event.name),
            "timestamp": _seconds(event.timestamp),
            "data": translate.attributes(event.attributes or {}),
        }
        for event in span.events
        if event.name != "exception"
    ]


def _end(span: ReadableSpan) -> float:
    # A clock that was set back: Relay refuses what ends before it starts.
    return _seconds(max(span.end_time or 0, span.start_time or 0))


def _seconds(nanoseconds: int | None) -> float:
    return (nanoseconds or 0) / _NANOSECONDS
