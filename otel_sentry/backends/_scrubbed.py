"""Let any OpenTelemetry exporter see scrubbed spans only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status

from otel_sentry._logging import report
from otel_sentry.backends._noise import NoiseFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_sentry.backends import Bridge
    from otel_sentry.scrubbing import Scrubber


def scrubbed_batches(exporter: SpanExporter, bridge: Bridge) -> BatchSpanProcessor:
    """Return a batch processor whose background thread scrubs before ``exporter`` encodes."""
    return BatchSpanProcessor(ScrubbingExporter(exporter, bridge.scrubber, NoiseFilter(bridge)))


class ScrubbingExporter(SpanExporter):
    """Leave noise out, scrub the rest, then pass it on."""

    def __init__(
        self,
        exporter: SpanExporter,
        scrubber: Scrubber,
        is_noise: Callable[[ReadableSpan], bool] = lambda _: False,
    ) -> None:
        self._exporter = exporter
        self._scrubber = scrubber
        self._is_noise = is_noise

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export scrubbed copies; spans that cannot be scrubbed do not leave."""
        try:
            scrubbed = [
                scrub_span(span, self._scrubber) for span in spans if not self._is_noise(span)
            ]
        except Exception as error:  # noqa: BLE001
            report("scrubbing spans", error)
            return SpanExportResult.FAILURE
        return self._exporter.export(scrubbed)

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)


def scrub_span(span: ReadableSpan, scrubber: Scrubber) -> ReadableSpan:
    """Return a copy of ``span`` without secrets: name, attributes, events, links, status."""
    return ReadableSpan(
        name=scrubber.text(span.name),
        context=span.context,
        parent=span.parent,
        resource=type(span.resource)(
            scrubber.attributes(span.resource.attributes), span.resource.schema_url
        ),
        attributes=scrubber.attributes(span.attributes or {}),
        events=[
            Event(event.name, scrubber.attributes(event.attributes or {}), event.timestamp)
            for event in span.events
        ],
        links=[
            Link(link.context, scrubber.attributes(link.attributes or {})) for link in span.links
        ],
        kind=span.kind,
        status=Status(
            span.status.status_code,
            span.status.description and scrubber.text(span.status.description),
        ),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
