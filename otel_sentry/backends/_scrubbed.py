"""Let any OpenTelemetry exporter see annotated and scrubbed spans only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_sentry._logging import report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class ScrubbingExporter(SpanExporter):
    """
    Leave noise out, annotate and scrub the rest, then pass it on.

    Args:
        exporter: What gets the copies.
        annotate: Returns a span's copy without secrets; ``None``: it is left out.
    """

    def __init__(
        self, exporter: SpanExporter, annotate: Callable[[ReadableSpan], ReadableSpan | None]
    ) -> None:
        self._exporter = exporter
        self._annotate = annotate

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export scrubbed copies; spans that cannot be scrubbed do not leave."""
        try:
            scrubbed = [copy for span in spans if (copy := self._annotate(span)) is not None]
        except Exception as error:  # noqa: BLE001
            report("scrubbing spans", error)
            return SpanExportResult.FAILURE
        return self._exporter.export(scrubbed) if scrubbed else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)
