"""
Build a transaction event from a tree of spans: no state, no clock.

Source: https://develop.sentry.dev/sdk/foundations/transport/event-payloads/transaction/ and
.../span/.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_sentry._logging import report
from otel_sentry.transactions.tree import branches, nearest, parent_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_sentry.transactions.translate import Translator, Words
    from otel_sentry.transactions.tree import Tree

    _Said = tuple[ReadableSpan, Words, str]  # a span that is sent, and its times and links

MAX_SPANS_SIZE = 900 * 1024
"""
Characters of a transaction's spans as JSON, all of which are ASCII.

Sentry refuses a transaction of more than 1 MiB; the rest is for what is beside its spans.
https://docs.sentry.io/concepts/data-management/size-limits/
"""

_NANOSECONDS = 1e9
_MAX_BREADCRUMBS = 100  # sentry-sdk's default

# The first two are the message of a breadcrumb; a stack trace is an error's, and `escaped` is not
# what it says: OpenTelemetry leaves it false where an exception leaves a span.
_OF_EXCEPTION = (
    "exception.type",
    "exception.message",
    "exception.stacktrace",
    "exception.escaped",
)


class Transaction(NamedTuple):
    """A transaction event, plain and scrubbed: it can be written as JSON as it is."""

    event: dict[str, Any]
    """All of it but its spans."""

    spans: list[str]
    """Each span as JSON: most of a span is the same text as thousands before it."""

    lost: Mapping[str, int]
    """How many spans are not among them, by Sentry's reasons."""

    secrets: frozenset[str] = frozenset()
    """What the root's route says to be secret in its path: what scopes add may repeat it."""

    def span_dictionaries(self) -> list[dict[str, Any]]:
        """Return the spans as dictionaries of their own, for who wants to read or change them."""
        return [json.loads(span) for span in self.spans]


def transaction_event(tree: Tree, translate: Translator) -> Transaction | None:
    """
    Return the transaction of ``tree``: its root's name, source, trace context, and its spans.

    ``None`` where the root is noise: see :func:`below_noise`.
    """
    words = translate(tree.root)
    if words.is_noise:
        return None
    event = _without_spans(tree, words, translate)
    meta = _remarks(event, words, translate)
    secrets = words.secrets
    crumbs = _breadcrumbs(tree.root, translate, secrets)
    lost: Counter[str] = Counter()
    said: list[_Said] = []
    absent = dict(tree.absent)
    for span in tree.children:
        try:
            words = translate(span)
            if getattr(span, "_events", True):  # see _links
                crumbs += _breadcrumbs(span, translate, secrets)
            if not words.is_noise:
                said.append((span, words, _times_and_links(span, translate)))
                continue
        except Exception as error:  # noqa: BLE001 - one span less must not stop the others
            report("translating a span", error)
            lost["internal_sdk_error"] += 1
        absent[span.context.span_id] = parent_id(span)
    if crumbs:
        crumbs.sort(key=lambda crumb: crumb["timestamp"])
        event["breadcrumbs"] = {"values": crumbs[-_MAX_BREADCRUMBS:]}
    trace_id = event["contexts"]["trace"]["trace_id"]
    spans = [_span(span, words.text, tail, trace_id, absent) for span, words, tail in said]
    if sum(map(len, spans)) > MAX_SPANS_SIZE:
        made = len(said)
        said, spans = _fitting(said, trace_id, absent)
        lost["buffer_overflow"] += made - len(said)
    of_spans = {str(place): words.meta for place, (_, words, _) in enumerate(said) if words.meta}
    if of_spans:
        meta["spans"] = of_spans
    if meta:
        event["_meta"] = meta
    return Transaction(event, spans, +lost, secrets)


def below_noise(tree: Tree, translate: Translator) -> list[Tree]:
    """
    Return the trees below a root that is noise.

    There are none below a request of our own: transactions about transactions would not end.
    """
    if translate(tree.root).fields["op"] == "http.client":
        return []
    return branches(tree, lambda span: translate(span).is_noise)


def _without_spans(tree: Tree, words: Words, translate: Translator) -> dict[str, Any]:
    """Return what the root says."""
    root = tree.root
    trace = {
        "trace_id": f"{root.context.trace_id:032x}",
        "span_id": f"{root.context.span_id:016x}",
        **words.fields,
    }
    del trace["description"]
    above = nearest(root, tree.absent)
    if above:
        trace["parent_span_id"] = f"{above:016x}"
    links = _links(root, translate)
    if links:
        trace["links"] = links
    event: dict[str, Any] = {
        "type": "transaction",
        "transaction": words.name,
        "transaction_info": {"source": words.source},
        "start_timestamp": _seconds(root.start_time),
        "timestamp": _seconds(end_time(root)),
        "contexts": {"trace": trace, "otel": {"resource": translate.resource(root.resource)}},
        "platform": "python",
    }
    status_code = trace["data"].get("http.response.status_code")
    if status_code is not None:
        event["contexts"]["response"] = {"status_code": status_code}
    profiler_id = trace["data"].get("profiler_id")
    if profiler_id is not None:
        event["contexts"]["profile"] = {"profiler_id": profiler_id}
    return event


def _remarks(event: dict[str, Any], words: Words, translate: Translator) -> dict[str, Any]:
    """Return the ``_meta`` of what the root says; its words know theirs."""
    contexts = dict(event["contexts"])
    links = contexts.pop("trace").get("links")
    meta = translate.remarks({"transaction": event["transaction"], "contexts": contexts})
    trace = {key: remark for key, remark in words.meta.items() if key != "description"}
    if links:
        trace |= translate.remarks({"links": links})
    if trace:
        meta["contexts"] = {**meta.get("contexts", {}), "trace": trace}
    return meta


def _fitting(
    said: list[_Said], trace_id: str, absent: dict[int, int]
) -> tuple[list[_Said], list[str]]:
    """
    Return the spans that fit into :data:`MAX_SPANS_SIZE`, and each as JSON.

    Their words are brief. In order of start each is taken that there is still room for: what goes
    is large or came late.
    """
    kept, spans, room = [], [], MAX_SPANS_SIZE
    for span, words, tail in said:
        text = _span(span, words.brief, tail, trace_id, absent)
        if len(text) < room:
            room -= len(text) + len(",")
            kept.append((span, words, tail))
            spans.append(text)
        else:
            absent[span.context.span_id] = parent_id(span)
    return kept, spans


def _span(
    span: ReadableSpan, words: str, tail: str, trace_id: str, absent: Mapping[int, int]
) -> str:
    """Write a span as JSON; a dictionary of it would be made only to be written."""
    above = nearest(span, absent)
    parent = f'"parent_span_id":"{above:016x}",' if above else ""
    span_id = span.context.span_id
    return f'{{"trace_id":"{trace_id}","span_id":"{span_id:016x}",{parent}{words},{tail}}}'


def _times_and_links(span: ReadableSpan, translate: Translator) -> str:
    start, end = _seconds(span.start_time), _seconds(end_time(span))
    times = f'"start_timestamp":{start!r},"timestamp":{end!r}'
    links = _links(span, translate)
    return f'{times},"links":{json.dumps(links, allow_nan=False)}' if links else times


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


def _breadcrumbs(
    span: ReadableSpan, translate: Translator, secrets: frozenset[str]
) -> list[dict[str, Any]]:
    """Return the span's events; an exception only where its status does not tell it."""
    crumbs = []
    for event in span.events:
        attributes = dict(event.attributes or {})
        crumb = {
            "type": "default",
            "category": "otel.event",
            "message": event.name,
            "timestamp": _seconds(event.timestamp),
        }
        if event.name == "exception":
            said = [str(attributes.pop(key, "")) for key in _OF_EXCEPTION]
            kind, message = said[:2]
            # OpenTelemetry says so of an exception that leaves the span.
            if span.status.description == f"{kind.rpartition('.')[2]}: {message}":
                continue
            crumb |= {
                "type": "error",
                "category": "exception",
                "level": "error",
                "message": ": ".join(filter(None, (kind, message))) or event.name,
            }
        crumb["message"] = translate.text(crumb["message"], secrets)
        crumb["data"] = translate.attributes(attributes, secrets)
        crumbs.append(crumb)
    return crumbs


def end_time(span: ReadableSpan) -> int:
    """Return when the span ended, in nanoseconds; not before it started, which Relay refuses."""
    return max(span.end_time or 0, span.start_time or 0)  # its clock may have been set back


def _seconds(nanoseconds: int | None) -> float:
    return (nanoseconds or 0) / _NANOSECONDS
