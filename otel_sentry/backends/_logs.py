"""OpenTelemetry's log records: scrubbed before an exporter sees them, queued as spans are."""

from __future__ import annotations

import os
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

from otel_sentry._logging import report
from otel_sentry.backends._queue import SHUTDOWN_SECONDS, BatchQueue, Limits
from otel_sentry.backends._scopes import ScrubbedScopes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk._logs import ReadWriteLogRecord

    from otel_sentry.scrubbing import Scrubber


class ScrubbingLogExporter(LogRecordExporter):
    """Pass on copies of log records without secrets, in their resource and scope neither."""

    def __init__(self, exporter: LogRecordExporter, scrubber: Scrubber) -> None:
        self._exporter = exporter
        self._scrubber = scrubber
        self._resource: tuple[Resource | None, Resource | None] = (None, None)
        self._scopes = ScrubbedScopes(scrubber)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export the copies; records that cannot be scrubbed do not leave."""
        try:
            scrubbed = [self._scrub(record) for record in batch]
        except Exception as error:  # noqa: BLE001
            report("scrubbing log records", error)
            return LogRecordExportResult.FAILURE
        return self._exporter.export(scrubbed)

    def _scrub(self, readable: ReadableLogRecord) -> ReadableLogRecord:
        record = copy(readable.log_record)
        record.body = self._scrubber.attributes({"body": record.body}).get("body")
        record.attributes = self._scrubber.attributes(record.attributes or {})
        if record.event_name:
            record.event_name = self._scrubber.text(record.event_name)
        return replace(
            readable,
            log_record=record,
            resource=self._scrub_resource(readable),
            instrumentation_scope=self._scopes(readable.instrumentation_scope),
        )

    def _scrub_resource(self, readable: ReadableLogRecord) -> Resource:
        known, scrubbed = self._resource
        resource = readable.resource
        if known is not resource or scrubbed is None:
            attributes = self._scrubber.attributes(resource.attributes)
            scrubbed = Resource(attributes, self._scrubber.text(resource.schema_url))
            self._resource = (resource, scrubbed)
        return scrubbed

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)


class LogBatches(LogRecordProcessor):
    """Put log records into a queue; see there for what happens to them."""

    def __init__(self, queue: BatchQueue) -> None:
        self._queue = queue

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue a record; never waits for anything."""
        record = copy(log_record.log_record)
        record.context = Context()  # it may be large, and nothing of it is sent
        self._queue.put(
            ReadableLogRecord(
                log_record=record,
                resource=log_record.resource or Resource.create({}),
                instrumentation_scope=log_record.instrumentation_scope,
                limits=log_record.limits,
            )
        )

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what is queued now; ``False`` if not all of it was sent in time."""
        return self._queue.begin_flush()(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Send what is queued, for two seconds at most, then stop."""
        self._queue.begin_shutdown()(SHUTDOWN_SECONDS)


def scrubbed_logs(make_exporter: Callable[[], LogRecordExporter], scrubber: Scrubber) -> LogBatches:
    """
    Return a log record processor for any exporter.

    Args:
        make_exporter: Makes it: now, and again in each child process.
        scrubber: The rules.
    """
    return LogBatches(
        BatchQueue(
            lambda: ScrubbingLogExporter(make_exporter(), scrubber),
            "the exporter of OTEL_LOGS_EXPORTER",
            Limits.from_env(os.environ, "OTEL_BLRP"),
            what="log records",
        )
    )


def log_processors(scrubber: Scrubber) -> Any:
    """Return what OpenTelemetry's configuration asks for the processor of an exporter."""

    def processor(exporter: LogRecordExporter, **_: Any) -> LogBatches:
        first = [exporter]
        make = type(exporter)  # in a child process: made anew, from the environment
        return scrubbed_logs(lambda: first.pop() if first else make(), scrubber)

    return processor
