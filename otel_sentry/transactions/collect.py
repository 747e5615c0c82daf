"""Collect spans on the request path: about a microsecond a span, no lock, nothing built."""

from __future__ import annotations

import time
from contextvars import copy_context
from itertools import repeat
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind

from otel_sentry._logging import report
from otel_sentry.transactions.segment import Segment, attach, segment_of, take_all
from otel_sentry.transactions.tree import parent_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context as ContextVars

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from otel_sentry.transactions.assemble import Assembler

SHUTDOWN_SECONDS = 2.0
"""How long the end of the process may take for what is queued."""

_MAX_ABANDONED = 1000
_MAX_DROPPED = 1000  # numbers of one segment
_MAX_ABSENT = 1000  # spans of one segment

_OWN_SEGMENT = frozenset({SpanKind.SERVER, SpanKind.CONSUMER})


class SentrySpanProcessor(SpanProcessor):
    """
    Hand each local root, with the spans below it, to the assembler.

    A local root is a span without a parent in this process; a SERVER or CONSUMER span is one
    wherever its parent lives.

    Args:
        assembler: What builds the transactions.
        flush: Waits until what was sent has left the process; whether it did within a timeout
            in seconds.
        max_spans: Spans of one transaction, at most; the rest is counted.
        on_root: Called with each local root when it starts (error linking); what it returns is
            called when the root ends.
        keep: Asked at the end of each local root that is not sampled: whether it is sent.
        take_context: Returns what a transaction is built in, as it is when this span of it ends.
        is_noise: Tells the spans that are left out anyway: they take no other's place.
    """

    def __init__(
        self,
        assembler: Assembler,
        flush: Callable[[float], bool],
        *,
        max_spans: int = 1000,
        on_root: Callable[[Span], Callable[[], None] | None] | None = None,
        keep: Callable[[ReadableSpan], bool] = lambda _: False,
        take_context: Callable[[ReadableSpan], ContextVars] = lambda _: copy_context(),
        is_noise: Callable[[ReadableSpan], bool] = lambda _: False,
    ) -> None:
        self._assembler = assembler
        self._flush = flush
        self._max_children = max_spans - 1
        self._on_root = on_root
        self._keep = keep
        self._take_context = take_context
        self._is_noise = is_noise

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Attach the span to its parent's segment, or open one."""
        try:
            span_context, parent = span.context, span.parent
            segment = None
            if parent is not None and span.kind not in _OWN_SEGMENT:
                segment = segment_of(parent)
            generation = self._assembler.generation
            if segment is None or segment.generation != generation:
                if len(self._assembler.abandoned) > _MAX_ABANDONED:
                    self._assembler.count_lost()
                segment = Segment(
                    span_context.span_id,
                    generation,
                    self._assembler.abandoned,
                    self._max_children,
                )
                if self._on_root is not None:
                    segment.at_end = self._on_root(span)
            attach(span_context, segment)
            segment.open.add(span_context.span_id)
        except Exception as error:  # noqa: BLE001 - tracing must not fail the application
            report("starting a span", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Put the span into its segment; the local root's end queues the segment."""
        try:
            span_context = span.context
            segment = segment_of(span_context) if span_context is not None else None
            if segment is None or segment.generation != self._assembler.generation:
                # Started before us, or before a fork: the parent process sends it.
                return
            is_root = span_context.span_id == segment.root_id
            if is_root and segment.at_end is not None:
                segment.at_end()
            if (is_root or segment.root_ended) and not (
                span_context.trace_flags.sampled or self._keeps(segment, span, is_root)
            ):
                return
            if is_root or len(segment.finished) < segment.room:
                segment.finished.append(span)
            else:
                self._squeeze(segment, span)
            segment.open.discard(span_context.span_id)
            if is_root:
                segment.root_ended = True
            if segment.root_ended and not segment.queued:
                self._assembler.submit(segment, self._take_context(span))
        except Exception as error:  # noqa: BLE001
            report("ending a span", error)

    def _squeeze(self, segment: Segment, span: ReadableSpan) -> None:
        """Take a span for which noise makes room, or drop it."""
        finished, unread, dropped = segment.finished, segment.unread, segment.dropped
        if segment.room:
            unread.extend(repeat(None, len(finished)))
            segment.room = 0  # from here on each span is looked at
        if self._leaves_out(segment, span):
            return
        while len(finished) >= self._max_children:
            try:
                unread.pop()
                # One at a time: whoever takes them all meanwhile misses one at most.
                other = finished.popleft()
            except IndexError:
                break
            if not self._leaves_out(segment, other):
                finished.append(other)
        if len(finished) < self._max_children:
            finished.append(span)
            return
        dropped.append(1)
        if len(dropped) > _MAX_DROPPED:
            number = sum(take_all(dropped))
            # Of a root that never ends one wants to know; what is not sampled may yet be discarded.
            sampled = span.context.trace_flags.sampled
            (self._assembler.dropped if sampled else dropped).append(number)

    def _leaves_out(self, segment: Segment, span: ReadableSpan) -> bool:
        """Return whether the span is noise, and remember where it was: something may be below."""
        if not self._is_noise(span):
            return False
        if len(segment.absent) < _MAX_ABSENT:
            segment.absent[span.context.span_id] = parent_id(span)
        return True

    def _keeps(self, segment: Segment, span: ReadableSpan, is_root: bool) -> bool:
        """Return whether a span that is recorded and not sampled goes on, at or after its root."""
        if not is_root:
            if not segment.queued:
                # Later than the grace time: a sampled trace's late spans stand for these, too.
                segment.abandoned.append(1)
            return segment.queued
        if self._keep(span):
            return True
        segment.discard()
        return False

    def shutdown(self) -> None:
        """Send what is queued within :data:`SHUTDOWN_SECONDS`, then stop."""
        self.force_flush(int(SHUTDOWN_SECONDS * 1000))
        self._assembler.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what is queued now; ``False`` if not all of it left the process in time."""
        deadline = time.monotonic() + timeout_millis / 1000
        drained = self._assembler.drain(timeout_millis / 1000)
        return self._flush(max(0.0, deadline - time.monotonic())) and drained
