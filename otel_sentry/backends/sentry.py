"""The backend ``sentry``: transactions through sentry-sdk's client."""

from __future__ import annotations

import os
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

import sentry_sdk
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind
from sentry_sdk import Scope

from otel_sentry._background import after_fork_in_child
from otel_sentry._logging import report
from otel_sentry.backends._noise import NoiseFilter
from otel_sentry.capture import Capture, count_lost
from otel_sentry.errors.linking import remember_root
from otel_sentry.profiling import start_profile
from otel_sentry.sampling.outcome import Outcome
from otel_sentry.transactions import SentrySpanProcessor
from otel_sentry.transactions.assemble import Assembler
from otel_sentry.transactions.event import below_noise, transaction_event
from otel_sentry.transactions.translate import Translator
from otel_sentry.transactions.tree import Tree, grow
from otel_sentry.transport import SentryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Context

    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
    from opentelemetry.trace import SpanContext

    from otel_sentry.backends import Bridge
    from otel_sentry.sampling.unsampled import Unsampled


def build(bridge: Bridge) -> SpanProcessor:
    """Return the span processor."""
    outcome = Outcome.from_settings(bridge.settings)
    sender = _sender(bridge, outcome)
    bridge.unsampled.report_to(sender.lost)
    assembler = Assembler(sender)
    transport = bridge.client.transport if bridge.client is not None else None
    if isinstance(transport, SentryTransport):
        # sentry-sdk flushes where processes end (atexit, Celery's children): what is still being
        # built goes with it.
        transport.before_flush = partial(_before_flush, bridge.unsampled, assembler)
    return SentrySpanProcessor(
        assembler,
        sender.flush,
        max_spans=bridge.settings.max_spans,
        on_root=_start_root,
        keep=partial(_keep, bridge.unsampled, outcome),
        take_context=_context_with_scopes,
        is_noise=NoiseFilter(bridge),
    )


def _context_with_scopes(span: ReadableSpan) -> Context:
    """
    Return this context with its Sentry scopes as they are now.

    The application goes on to write into its own: the user and tags of the next piece of work. Not
    so where a request ends, whose scope ends with it.
    """
    context = copy_context()
    if span.kind is not SpanKind.SERVER:
        context.run(_fork_scopes)
    return context


def _fork_scopes() -> None:
    Scope.set_isolation_scope(sentry_sdk.get_isolation_scope().fork())
    Scope.set_current_scope(sentry_sdk.get_current_scope().fork())


def _start_root(root: Span) -> Callable[[], None] | None:
    remember_root(root)
    return start_profile(root)


def _before_flush(unsampled: Unsampled, assembler: Assembler, timeout: float) -> None:
    unsampled.flush()
    assembler.drain(timeout)


def _keep(unsampled: Unsampled, outcome: Outcome | None, root: ReadableSpan) -> bool:
    """Return whether the segment of a root that is not sampled is sent; count it if not."""
    if not _is_local_root(root):  # a late span's
        return False
    if outcome is not None and outcome.matters(root):
        return True
    unsampled.add()
    return False


def _sender(bridge: Bridge, outcome: Outcome | None = None) -> SentrySender:
    translate = Translator(bridge.scrubber, NoiseFilter(bridge))
    return SentrySender(
        bridge.propagator.dynamic_sampling_context,
        translate,
        Capture(bridge.scrubber),
        bridge.unsampled,
        outcome,
    )


class SentrySender:
    """
    Send trees of spans as transactions through whatever sentry-sdk client is active.

    Args:
        dynamic_sampling_context: Returns that of the trace that a span context belongs to; its
            second argument names the transaction, where its name is good enough for it.
        translate: Puts spans into Sentry's words.
        capture: Sends a transaction in the Sentry scopes of the context it is called in.
        unsampled: Counts what the sampler left out.
        outcome: Tells what is sent whatever the trace rate says; ``None``: nothing.
    """

    def __init__(
        self,
        dynamic_sampling_context: Callable[[SpanContext, str | None], Mapping[str, str]],
        translate: Translator,
        capture: Capture,
        unsampled: Unsampled,
        outcome: Outcome | None = None,
    ) -> None:
        self._translate = translate
        self._unsampled = unsampled
        self._outcome = outcome
        self._capture = capture
        self._dynamic_sampling_context = dynamic_sampling_context

    def transaction(self, tree: Tree, context: Context) -> None:
        """Capture a transaction, with the Sentry scopes that ``context`` holds applied to it."""
        try:
            self._transaction(tree, context)
        except Exception as error:  # noqa: BLE001 - others are sent with the same thread
            report("building a transaction", error)
            self.lost("internal_sdk_error", transactions=1, spans=1 + len(tree.children))

    def _transaction(self, tree: Tree, context: Context) -> None:
        transaction = transaction_event(tree, self._translate)
        if transaction is None:
            for branch in below_noise(tree, self._translate):
                self.transaction(branch, context)
            return
        name = None
        if tree.root.parent is None:  # the head names the trace
            head = transaction.event
            name = "" if head["transaction_info"]["source"] == "url" else head["transaction"]
        sampling = self._dynamic_sampling_context(tree.root.context, name)
        if self._outcome is not None and sampling and _is_local_root(tree.root):
            sampling = self._outcome.weighed(tree.root, sampling)
        self._unsampled.flush()
        context.run(self._capture, transaction, sampling)

    def lost(self, reason: str, *, transactions: int, spans: int) -> None:
        """Count in sentry-sdk's client reports."""
        count_lost(reason, transactions=transactions, spans=spans)

    def flush(self, timeout: float) -> bool:
        """Wait until sentry-sdk's transport has sent everything; whether it did in time."""
        self._unsampled.flush()
        transport = sentry_sdk.get_client().transport
        if transport is None:
            return True
        if isinstance(transport, SentryTransport):
            return transport.flush(timeout)
        transport.flush(timeout)
        return True


class SentrySpanExporter(SpanExporter):
    """
    ``OTEL_TRACES_EXPORTER=sentry`` under another distribution than ours.

    A batch holds spans of many traces, in order of their ends; spans wait here for their local
    root. Prefer our distribution: it knows which spans belong together when they start.
    """

    _MAX_WAITING = 10_000  # bound, in spans; beyond it the oldest is dropped and counted

    def __init__(self) -> None:
        from otel_sentry import pipeline

        self._sender = _sender(pipeline.bridge_from(os.environ))
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        """Have a lock that nobody holds, and no spans: a parent sends its own."""
        self._lock = threading.Lock()
        self._waiting: dict[int, ReadableSpan] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the transactions whose root is in this batch."""
        try:
            with self._lock:
                for span in spans:
                    self._waiting[span.context.span_id] = span
                trees = [self._take(span) for span in spans if _is_local_root(span)]
                overflow = len(self._waiting) - self._MAX_WAITING
                for span_id in list(self._waiting)[: max(0, overflow)]:
                    del self._waiting[span_id]
            for tree in trees:
                self._sender.transaction(tree, copy_context())
            if overflow > 0:
                self._sender.lost("buffer_overflow", transactions=0, spans=overflow)
        except Exception as error:  # noqa: BLE001 - the batch processor's thread must live
            report("exporting spans", error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _take(self, root: ReadableSpan) -> Tree:
        """Return the root's tree and forget its spans."""
        trace_id, root_id = root.context.trace_id, root.context.span_id
        same_trace = [span for span in self._waiting.values() if span.context.trace_id == trace_id]
        own = {root_id}
        for span in sorted(same_trace, key=lambda span: span.start_time or 0):
            if span.parent is not None and span.parent.span_id in own and not _is_local_root(span):
                own.add(span.context.span_id)
        trees, _ = grow([self._waiting.pop(span_id) for span_id in own], root_id, ())
        return trees[0]

    def shutdown(self) -> None:
        """Flush."""
        self.force_flush(2000)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything was sent."""
        return self._sender.flush(timeout_millis / 1000)


def _is_local_root(span: ReadableSpan) -> bool:
    return (
        span.parent is None
        or span.parent.is_remote
        or span.kind in {SpanKind.SERVER, SpanKind.CONSUMER}
    )
