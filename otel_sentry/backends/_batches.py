"""Batch finished spans, for any exporter; each sees annotated and scrubbed spans only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from otel_sentry._logging import report
from otel_sentry.backends._annotate import Annotator, is_segment
from otel_sentry.backends._queue import SHUTDOWN_SECONDS, BatchQueue, Limits
from otel_sentry.backends._scrubbed import ScrubbingExporter
from otel_sentry.errors.linking import remember_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.sdk.trace.export import SpanExporter

    from otel_sentry.backends import Bridge


class Batches(SpanProcessor):
    """Put sampled spans into a queue; see there for what happens to them."""

    def __init__(self, queue: BatchQueue) -> None:
        self._queue = queue
        self.begin_flush = queue.begin_flush
        self.begin_shutdown = queue.begin_shutdown

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Remember local roots: errors that surface outside of any span are linked to them."""
        if is_segment(span):
            try:
                remember_root(span)
            except Exception as error:  # noqa: BLE001 - tracing must not fail the application
                report("starting a span", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span; never waits for anything."""
        if span.context.trace_flags.sampled:
            self._queue.put(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what is queued now; ``False`` if not all of it was sent in time."""
        return self.begin_flush()(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Send what is queued within :data:`SHUTDOWN_SECONDS`, then stop."""
        self.begin_shutdown()(SHUTDOWN_SECONDS)


def scrubbed_batches(
    make_exporter: Callable[[], SpanExporter],
    bridge: Bridge,
    destination: str,
    limits: Limits | None = None,
) -> Batches:
    """
    Return a span processor for any exporter.

    Args:
        make_exporter: Makes it: now, and again in each child process.
        bridge: What the backends share.
        destination: Where spans go, for the warning about lost ones.
        limits: How spans are batched; without them ``OTEL_BSP_*`` say.
    """
    return Batches(
        BatchQueue(
            lambda: ScrubbingExporter(make_exporter(), Annotator(bridge)),
            destination,
            limits or Limits.from_env(os.environ),
        )
    )
