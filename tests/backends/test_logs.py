from __future__ import annotations

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.resources import Resource

from otel_sentry.backends._logs import ScrubbingLogExporter, log_processors
from otel_sentry.scrubbing import Scrubber

SECRET = "Zq9xSekrit7Wv"


def emit(provider):
    """Emit log records with a secret in every place that can hold one."""
    logger = provider.get_logger(
        "tests", schema_url=f"https://h/?token={SECRET}", attributes={"password": SECRET}
    )
    bodies = [
        f"login with password={SECRET}",
        {"password": SECRET, "user": "7"},
        [f"token={SECRET}"],
    ]
    for body in bodies:
        logger.emit(
            LogRecord(
                body=body,
                severity_number=SeverityNumber.INFO,
                attributes={"http.request.header.authorization": SECRET, "user.id": "7"},
                event_name=f"token={SECRET}",
            )
        )


def test_log_records_are_scrubbed():
    """Body, attributes, event name, resource and scope of a record leave without secrets."""
    exporter = InMemoryLogRecordExporter()
    resource = Resource({"secret": SECRET}, f"https://h/?token={SECRET}")
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    provider.add_log_record_processor(log_processors(Scrubber())(exporter))
    emit(provider)
    assert provider.force_flush(5000)

    records = exporter.get_finished_logs()
    assert len(records) == 3
    for record in records:
        assert SECRET not in record.to_json()
        assert SECRET not in repr(record.instrumentation_scope)
        assert record.log_record.attributes["user.id"] == "7"
    assert records[1].log_record.body["user"] == "7"
    provider.shutdown()


def test_records_of_the_application_stay_as_they_are():
    """Another processor of the application sees the record as it was."""
    seen = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    ours = log_processors(Scrubber())(InMemoryLogRecordExporter())
    provider.add_log_record_processor(ours)
    provider.add_log_record_processor(log_processors(_NoScrubber())(seen))
    emit(provider)
    provider.force_flush(5000)

    assert SECRET in seen.get_finished_logs()[0].to_json()
    provider.shutdown()


class _NoScrubber:
    callback = None

    def attributes(self, attributes):
        return dict(attributes)

    def text(self, text):
        return text


def test_a_record_that_cannot_be_scrubbed_does_not_leave(caplog):
    """If scrubbing itself fails, nothing is exported and it is said."""
    exporter = InMemoryLogRecordExporter()
    broken = ScrubbingLogExporter(exporter, Scrubber())

    assert broken.export([object()]).name == "FAILURE"
    assert exporter.get_finished_logs() == ()
    assert "scrubbing log records" in caplog.text
