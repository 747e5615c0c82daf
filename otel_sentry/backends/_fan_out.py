"""Let several backends see the same spans, none of them at the cost of another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from otel_sentry._logging import never_raise, report
from otel_sentry.backends._batches import Batches
from otel_sentry.backends._queue import SHUTDOWN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span


class FanOut(SpanProcessor):
    """
    Hand each span to every backend; flush and end them all within the time of one.

    OpenTelemetry's own processor flushes one after the other, and leaves out those for which the
    slow ones before them left no time.
    """

    def __init__(self, processors: Sequence[SpanProcessor]) -> None:
        self._processors = tuple(processors)
        self._queued = [one for one in processors if isinstance(one, Batches)]
        self._others = [one for one in processors if not isinstance(one, Batches)]

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell every backend."""
        for processor in self._processors:
            # The others, and the application, go on.
            try:
                processor.on_start(span, parent_context)
            except Exception as error:  # noqa: BLE001, PERF203
                report("starting a span", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Tell every backend."""
        for processor in self._processors:
            try:
                processor.on_end(span)
            except Exception as error:  # noqa: BLE001, PERF203
                report("ending a span", error)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush all; ``False`` if one did not send everything in time."""
        deadline = time.monotonic() + timeout_millis / 1000
        waits = [processor.begin_flush() for processor in self._queued]
        flushed = [_flush(processor, _left_millis(deadline)) for processor in self._others]
        flushed += [wait(_left_millis(deadline) / 1000) for wait in waits]
        return all(flushed)

    def shutdown(self) -> None:
        """End all within :data:`SHUTDOWN_SECONDS`."""
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        finishes = [processor.begin_shutdown() for processor in self._queued]
        for processor in self._others:
            try:
                processor.shutdown()
            except Exception as error:  # noqa: BLE001, PERF203
                report("ending a backend", error)
        for finish in finishes:
            with never_raise("ending a backend"):
                finish(_left_millis(deadline) / 1000)


def _flush(processor: SpanProcessor, millis: int) -> bool:
    try:
        return processor.force_flush(millis)
    except Exception as error:  # noqa: BLE001
        report("flushing a backend", error)
        return False


def _left_millis(deadline: float) -> int:
    return max(0, int((deadline - time.monotonic()) * 1000))
