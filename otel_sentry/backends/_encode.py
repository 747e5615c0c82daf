"""
Encode spans for OTLP, annotated and scrubbed.

OpenTelemetry's encoder takes most of the CPU time of an export, and most spans say what thousands
before them said: what it makes of one is copied for the others, with their ids and times.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sentry._logging import report
from otel_sentry.backends._annotate import Annotator, is_segment, sample_rate
from otel_sentry.transactions.event import end_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from otel_sentry.transactions.translate import Words

_MAX_REMEMBERED = 1024

_Exporter = TypeVar("_Exporter", bound=type)


@dataclass(frozen=True)
class Encoded:
    """A request, and what could not be put into it."""

    request: Any
    spans: int
    failed: int

    def __len__(self) -> int:
        """Return the number of spans: OpenTelemetry's exporters count what they are given."""
        return self.spans


class Encoder:
    """Encode spans; safe for one thread."""

    def __init__(self, annotate: Annotator) -> None:
        self._annotate = annotate
        # By the identity of the translation, which is kept so that it stays unique: the encoded
        # span, or None where it was seen once. Bounded by _MAX_REMEMBERED each.
        self._once: dict[Any, Words] = {}
        self._known: dict[Any, tuple[Words, Any]] = {}
        self._identity: dict[str, str] = {}  # the release and environment that they name

    def __call__(self, spans: Iterable[ReadableSpan]) -> Encoded:
        """Return the request; noise is left out, and so is a span that cannot be encoded."""
        identity = self._annotate.identity()
        if identity is not self._identity:  # another client
            self._identity = identity
            self._once.clear()
            self._known.clear()
        request = ExportTraceServiceRequest()
        groups: dict[tuple[int, int], Any] = {}
        resources: dict[int, Any] = {}
        encoded = 0
        said, failed = self._translate(spans)
        for span, words in said:
            try:
                where = (id(span.resource), id(span.instrumentation_scope))
                known = self._look_up(span, words) if where in groups else None
                if known is None:
                    self._encode(span, words, where, groups, resources, request)
                else:
                    _copy(span, known, groups[where].spans.add())
                encoded += 1
            except Exception as error:  # noqa: BLE001, PERF203 - one less must not stop the others
                report("encoding a span", error)
                failed += 1
        return Encoded(request, encoded, failed)

    def _translate(
        self, spans: Iterable[ReadableSpan]
    ) -> tuple[list[tuple[ReadableSpan, Words]], int]:
        """Return what is not noise with its words, and how many spans have none."""
        said, failed = [], 0
        absent: dict[int, SpanContext | None] = {}  # the parents of noise
        for span in spans:
            try:
                words = self._annotate.words(span)
            except Exception as error:  # noqa: BLE001 - as above
                report("encoding a span", error)
                failed += 1
                continue
            if words.is_noise:
                absent[span.context.span_id] = span.parent
            else:
                said.append((span, words))
        if absent:
            said = [(_outside(span, absent), words) for span, words in said]
        return said, failed

    def _look_up(self, span: ReadableSpan, words: Words) -> Any:
        """Return the encoded span that says the same, but for ids and times; ``None``: none yet."""
        if span.events or span.links or is_segment(span):
            return None
        key = (id(words), sample_rate(span.context))
        found = self._known.get(key)
        if found is not None:
            return found[1]
        if self._once.get(key) is not words:
            # Only what comes twice is worth its place.
            if len(self._once) >= _MAX_REMEMBERED:
                self._once.clear()
            self._once[key] = words
            return None
        del self._once[key]
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        message = encode_spans([self._annotate.copy(span, words)])
        message = message.resource_spans[0].scope_spans[0].spans[0]
        self._known[key] = (words, message)
        return message

    def _encode(
        self,
        span: ReadableSpan,
        words: Words,
        where: tuple[int, int],
        groups: dict[tuple[int, int], Any],
        resources: dict[int, Any],
        request: Any,
    ) -> None:
        """Encode a span that nothing is known of, and make its place in the request."""
        whole = encode_spans([self._annotate.copy(span, words)]).resource_spans[0]
        message = whole.scope_spans[0].spans[0]
        message.dropped_attributes_count = span.dropped_attributes
        message.dropped_events_count = span.dropped_events
        message.dropped_links_count = span.dropped_links
        if where in groups:
            groups[where].spans.append(message)
            return
        resource = resources.get(where[0])
        if resource is None:
            resource = request.resource_spans.add()
            resource.CopyFrom(whole)
            resources[where[0]] = resource
        else:
            resource.scope_spans.append(whole.scope_spans[0])
        groups[where] = resource.scope_spans[-1]


def _outside(span: ReadableSpan, absent: dict[int, SpanContext | None]) -> ReadableSpan:
    """Return the span below its nearest ancestor that is sent, as far as the batch tells."""
    parent = span.parent
    for _ in absent:
        if parent is None or parent.span_id not in absent:
            break
        parent = absent[parent.span_id]
    if parent is span.parent:
        return span
    moved = copy(span)
    moved._parent = parent  # noqa: SLF001 - there is no public way to keep all the rest
    return moved


def _copy(span: ReadableSpan, known: Any, message: Any) -> None:
    context, parent = span.context, span.parent
    message.CopyFrom(known)
    message.trace_id = context.trace_id.to_bytes(16, "big")
    message.span_id = context.span_id.to_bytes(8, "big")
    # A span without a parent is a segment, and those are never copied.
    message.parent_span_id = parent.span_id.to_bytes(8, "big")  # type: ignore[union-attr]
    message.trace_state = ",".join([f"{key}={value}" for key, value in context.trace_state.items()])
    message.start_time_unix_nano = span.start_time
    message.end_time_unix_nano = end_time(span)
    dropped = span.dropped_attributes
    if dropped:
        message.dropped_attributes_count = dropped


def taking_encoded(exporter: _Exporter, method: str) -> _Exporter:
    """
    Return a subclass of one of OpenTelemetry's OTLP exporters that is given encoded spans.

    There is no hook for it: the encoder is a global name that ``method`` looks up. Everything else
    (retries, TLS, compression, headers, its own metrics) stays as it is.
    """
    original: Any = getattr(exporter, method)
    scope = {**original.__globals__, "encode_spans": lambda encoded: encoded.request}
    replaced = FunctionType(
        original.__code__, scope, method, original.__defaults__, original.__closure__
    )
    return type(exporter.__name__, (exporter,), {method: replaced})  # type: ignore[return-value]
