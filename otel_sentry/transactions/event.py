"""
Build a transaction event from a tree of spans: no state, no clock.

Source: https://develop.sentry.dev/sdk/foundations/transport/event-payloads/transaction/ and
.../span/.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_sentry.transactions.translate import Translator
    from otel_sentry.transactions.tree import Tree

_NANOSECONDS = 1e9
_MAX_BREADCRUMBS = 100  # sentry-sdk's default


class Transaction(NamedTuple):
    """A transaction event, plain and scrubbed: it can be written as JSON as it is."""

    event: dict[str, Any]
    """All of it but its spans."""

    spans: list[str]
    """Each span as JSON: most of a span is the same text as thousands before it."""

    def span_dictionaries(self) -> list[dict[str, Any]]:
        """Return the spans as dictionaries of their own, for who wants to read or change them."""
        return [json.loads(span) for span in self.spans]


def transaction_event(tree: Tree, translate: Translator) -> Transaction | None:
    """
    Return the transaction of ``tree``: its root's name, source, trace context, and its spans.

    ``None`` where the root is noise.
    """
    root = tree.root
    words = translate(root)
    if words.is_noise:
        return None
    trace_id = f"{root.context.trace_id:032x}"
    trace = {"trace_id": trace_id, "span_id": f"{root.context.span_id:016x}", **words.fields}
    del trace["description"]
    if root.parent is not None:
        trace["parent_span_id"] = f"{root.parent.span_id:016x}"
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
        "platform": "python",
    }
    status_code = trace["data"].get("http.response.status_code")
    if status_code is not None:
        event["contexts"]["response"] = {"status_code": status_code}
    profiler_id = trace["data"].get("profiler_id")
    if profiler_id is not None:
        event["contexts"]["profile"] = {"profiler_id": profiler_id}
    breadcrumbs = [
        crumb
        for span in (root, *tree.children)
        if getattr(span, "_events", True)  # see _links
        for crumb in _breadcrumbs(span, translate)
    ]
    if breadcrumbs:
        breadcrumbs.sort(key=lambda crumb: crumb["timestamp"])
        event["breadcrumbs"] = {"values": breadcrumbs[-_MAX_BREADCRUMBS:]}
    said = [(span, words) for span in tree.children if not (words := translate(span)).is_noise]
    spans = [_span(span, trace_id, words.text, translate) for span, words in said]
    meta = {str(position): words.meta for position, (_, words) in enumerate(said) if words.meta}
    if meta:
        event["_meta"] = {"spans": meta}
    return Transaction(event, spans)


def _span(span: ReadableSpan, trace_id: str, words: str, translate: Translator) -> str:
    """Write a span as JSON; a dictionary of it would be made only to be written."""
    parent = "" if span.parent is None else f'"parent_span_id":"{span.parent.span_id:016x}",'
    links = _links(span, translate)
    tail = f',"links":{json.dumps(links, allow_nan=False)}' if links else ""
    return (
        f'{{"trace_id":"{trace_id}","span_id":"{span.context.span_id:016x}",{parent}{words},'
        f'"start_timestamp":{_seconds(span.start_time)!r},"timestamp":{_end(span)!r}{tail}}}'
    )


def _links(span: ReadableSpan, translate: Translator) -> list[dict[str, Any]]:
    # Most spans have none, and OpenTelemetry's property copies under a lock to say so.
    if not getattr(span, "_links", True):
        return []
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
