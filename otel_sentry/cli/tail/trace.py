"""
Turn received items into traces.

Sentry transactions, Sentry's streamed spans and OTLP spans become the same tree, joined by their
ids. Pure functions; nothing received is trusted to have the type that it should.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_sentry.cli.tail.receiver import Item

# A statement or message of megabytes would be kept as long as its trace.
_MAX_TEXT = 300

# SpanFlags of opentelemetry/proto/trace/v1/trace.proto: the parent is known, and is remote.
_REMOTE_PARENT = 0x300


@dataclass(frozen=True)
class Error:
    """An error or message event; `span_id` is where it happened, `transaction` the name of it."""

    trace_id: str
    span_id: str
    type: str
    value: str
    level: str = "error"
    transaction: str = ""


@dataclass(frozen=True)
class Node:
    """
    A span with what happened below it.

    A segment is the first span of a process: `transaction` and `service` say which. Texts are ""
    where nothing is known; times are seconds, `start` since the epoch.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    op: str
    description: str
    start: float
    duration: float
    status: str = ""
    is_segment: bool = False
    transaction: str = ""
    service: str = ""
    errors: list[Error] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """The spans of one trace as a forest, and the errors whose span did not arrive."""

    trace_id: str
    roots: list[Node]
    errors: list[Error]
    span_count: int
    error_count: int
    start: float
    duration: float


def build_traces(items: Iterable[Item]) -> list[Trace]:
    """Return the traces that the items are parts of, in the order they appeared."""
    nodes: defaultdict[str, list[Node]] = defaultdict(list)
    errors: defaultdict[str, list[Error]] = defaultdict(list)
    trace_ids: dict[str, None] = {}
    for item in items:
        for node in nodes_of(item):
            nodes[node.trace_id].append(node)
            trace_ids[node.trace_id] = None
        error = error_of(item)
        if error and error.trace_id:
            errors[error.trace_id].append(error)
            trace_ids[error.trace_id] = None
    return [assemble(trace_id, nodes[trace_id], errors[trace_id]) for trace_id in trace_ids]


def assemble(trace_id: str, nodes: Iterable[Node], errors: Iterable[Error]) -> Trace:
    """
    Put spans and errors where they belong.

    A span that arrived twice (as a transaction and over OTLP) counts once. A span whose parent did
    not arrive is a root, and so is one of those that call each other their parent.
    """
    by_id: dict[str, Node] = {}
    for node in nodes:
        known = by_id.get(node.span_id)
        if known is None or (node.is_segment and not known.is_segment):
            by_id[node.span_id] = replace(node, errors=[], children=[])
    ordered = sorted(by_id.values(), key=lambda node: node.start)
    unplaced: list[Error] = []
    all_errors = list(errors)
    for error in all_errors:
        place = by_id.get(error.span_id)
        (place.errors if place else unplaced).append(error)
    roots = _plant(ordered, by_id)
    # 0 is a start that could not be read; it would stretch the timeline by fifty years.
    start = min((node.start for node in ordered if node.start), default=0.0)
    end = max((node.start + node.duration for node in ordered), default=0.0)
    return Trace(
        trace_id, roots, unplaced, len(by_id), len(all_errors), start, max(0.0, end - start)
    )


def _plant(ordered: list[Node], by_id: dict[str, Node]) -> list[Node]:
    """Hang each span below its parent; return the roots."""
    roots = []
    for node in ordered:
        parent = by_id.get(node.parent_span_id)
        if parent is None:
            roots.append(node)
        else:
            parent.children.append(node)
    reached: set[str] = set()
    for root in roots:
        _reach(root, reached)
    for node in ordered:
        if node.span_id not in reached:  # in a circle, or below one: cut it here
            by_id[node.parent_span_id].children.remove(node)
            roots.append(node)
            _reach(node, reached)
    return roots


def _reach(root: Node, reached: set[str]) -> None:
    pending = [root]
    while pending:
        node = pending.pop()
        reached.add(node.span_id)
        pending += node.children


def nodes_of(item: Item) -> list[Node]:
    """Return the spans that an item carries."""
    data = item.fields
    if item.kind == "transaction":
        nodes = _of_transaction(data)
    elif item.kind == "span":
        nodes = [_of_streamed_span(data)]
    elif item.kind == "otlp_span":
        nodes = [_of_otlp_span(data)]
    else:
        nodes = []
    return [node for node in nodes if node.trace_id and node.span_id]


def error_of(item: Item) -> Error | None:
    """Return the error or message that an item is."""
    if item.kind != "error":
        return None
    data = item.fields
    trace = _dict(_dict(data.get("contexts")).get("trace"))
    # The last one is what was raised, those before are its causes.
    *_, last = [{}, *dicts(_dict(data.get("exception")).get("values"))]
    entry = _dict(data.get("logentry"))
    message = last.get("value") or entry.get("formatted") or entry.get("message")
    return Error(
        trace_id=_text(trace.get("trace_id")),
        span_id=_text(trace.get("span_id")),
        type=_text(last.get("type")),
        value=_text(message or data.get("message")),
        level=_text(data.get("level")) or "error",
        transaction=_text(data.get("transaction")),
    )


def _of_transaction(data: dict[str, Any]) -> list[Node]:
    contexts = _dict(data.get("contexts"))
    trace = _dict(contexts.get("trace"))
    trace_id = _text(trace.get("trace_id"))
    name = _text(data.get("transaction"))
    resource = _dict(_dict(contexts.get("otel")).get("resource"))
    service = _text(resource.get("service.name") or data.get("server_name"))
    segment = {**trace, **{key: data.get(key) for key in ("start_timestamp", "timestamp")}}
    root = replace(
        _of_sentry_span(segment, trace_id),
        description=name,
        is_segment=True,
        transaction=name,
        service=service,
    )
    return [root, *(_of_sentry_span(span, trace_id) for span in dicts(data.get("spans")))]


def _of_sentry_span(span: dict[str, Any], trace_id: str) -> Node:
    start = _seconds(span.get("start_timestamp"))
    return Node(
        trace_id=trace_id,
        span_id=_text(span.get("span_id")),
        parent_span_id=_text(span.get("parent_span_id")),
        op=_text(span.get("op")),
        description=_text(span.get("description")),
        start=start,
        duration=max(0.0, _seconds(span.get("timestamp")) - start),
        status=_text(span.get("status")),
    )


def _of_streamed_span(span: dict[str, Any]) -> Node:
    """
    Read a span of Sentry's streaming protocol.

    Fact: https://develop.sentry.dev/sdk/telemetry/spans/span-protocol/ ; attributes are
    {"value": ..., "type": ...}.
    """
    wrapped = _dict(span.get("attributes"))
    attributes = {key: _dict(value).get("value") for key, value in wrapped.items()}
    start = _seconds(span.get("start_timestamp"))
    name = _text(span.get("name"))
    is_segment = span.get("is_segment") is True
    return Node(
        trace_id=_text(span.get("trace_id")),
        span_id=_text(span.get("span_id")),
        parent_span_id=_text(span.get("parent_span_id")),
        op=_text(attributes.get("sentry.op")),
        description=name,
        start=start,
        duration=max(0.0, _seconds(span.get("end_timestamp")) - start),
        status=_text(span.get("status")),
        is_segment=is_segment,
        transaction=name if is_segment else "",
        service=_text(attributes.get("service.name") or attributes.get("server.address"))
        if is_segment
        else "",
    )


def _of_otlp_span(span: dict[str, Any]) -> Node:
    attributes = _dict(span.get("attributes"))
    kind = _text(span.get("kind"))
    name = _text(attributes.get("sentry.description") or span.get("name"))
    parent_span_id = _text(span.get("parent_span_id"))
    flags = span.get("flags")
    is_segment = (
        not parent_span_id
        or kind in {"SERVER", "CONSUMER"}
        or (isinstance(flags, int) and flags & _REMOTE_PARENT == _REMOTE_PARENT)
    )
    start = _nanoseconds(span.get("start_time_unix_nano"))
    default_op = "" if kind in {"INTERNAL", "UNSPECIFIED"} else kind.lower()
    failed = _dict(span.get("status")).get("code") == "ERROR"
    return Node(
        trace_id=_text(span.get("trace_id")),
        span_id=_text(span.get("span_id")),
        parent_span_id=parent_span_id,
        op=_text(attributes.get("sentry.op")) or default_op,
        description=name,
        start=start,
        duration=max(0.0, _nanoseconds(span.get("end_time_unix_nano")) - start),
        status="error" if failed else "ok",
        is_segment=is_segment,
        transaction=name if is_segment else "",
        service=_text(_dict(span.get("resource")).get("service.name")) if is_segment else "",
    )


def dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; what is no list holds none."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _nanoseconds(value: Any) -> float:
    return _seconds(value / 1e9 if isinstance(value, int) and 0 <= value < 1 << 64 else None)


def _seconds(value: Any) -> float:
    """Read a timestamp, a number or ISO 8601; what is neither is 0."""
    if isinstance(value, str):
        try:
            # Python 3.10 does not know "Z".
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
            value = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
        except (OverflowError, ValueError):
            return 0.0
    # Year 5138; also False for NaN.
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e11 else 0.0  # noqa: PLR2004
