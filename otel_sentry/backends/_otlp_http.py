"""OTLP over HTTP: OpenTelemetry's exporter, given encoded spans, and what its far end answers."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_sentry.backends._encode import Encoder, taking_encoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_sentry.backends._annotate import Annotator
    from otel_sentry.backends._queue import Lost

# https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
_RETRYABLE = frozenset({429, 502, 503, 504})
_MAX_PAUSE_SECONDS = 300.0

HttpExporter = taking_encoded(OTLPSpanExporter, "export")


class _OncePerMinute(logging.Filter):
    """Let each sentence, whatever its arguments, through once a minute."""

    _SECONDS = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}  # bounded by the sentences in OpenTelemetry's code

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._said.get(str(record.msg), float("-inf")) < self._SECONDS:
            return False
        self._said[str(record.msg)] = now
        return True


def say_less(logger: str) -> None:
    """Keep an exporter from saying each attempt: in an outage, a thousand lines an hour."""
    target = logging.getLogger(logger)
    if not any(isinstance(known, _OncePerMinute) for known in target.filters):
        target.addFilter(_OncePerMinute())


class Session(requests.Session):
    """Remember whether, and when, the last request is worth another attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.retry_at: float | None = None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send; see the class."""
        self.retry_at = None
        try:
            response = super().send(request, **kwargs)
        except requests.ConnectionError:
            # Not after a timeout of the answer: the far end may have taken the spans.
            self.retry_at = time.monotonic()
            raise
        pause = self.pause(response.status_code, response.headers)
        if pause is not None:
            self.retry_at = time.monotonic() + min(pause, _MAX_PAUSE_SECONDS)
        return response

    def pause(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Return the seconds to wait before the next request; ``None``: no need to."""
        if status not in _RETRYABLE:
            return None
        try:
            return max(0.0, float(headers.get("Retry-After", "")))
        except ValueError:
            return 0.0


class EncodingExporter(SpanExporter):
    """
    Encode spans, annotated and scrubbed, and let one of OpenTelemetry's exporters send them.

    Args:
        exporter: A subclass made by ``taking_encoded``.
        annotate: Translates the spans.
        lost: Is told of spans that could not be encoded.
        session: Of an exporter that speaks HTTP.
    """

    def __init__(
        self,
        exporter: Any,
        annotate: Annotator,
        lost: Lost = lambda *_: None,
        session: Session | None = None,
    ) -> None:
        self._exporter = exporter
        self._encode = Encoder(annotate)
        self._lost = lost
        self._session = session

    @property
    def retry_at(self) -> float | None:
        """When the last batch is worth another attempt; see ``BatchQueue``."""
        return self._session.retry_at if self._session is not None else None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans."""
        if self._session is not None:
            self._session.retry_at = None
        encoded = self._encode(spans)
        if encoded.failed:
            self._lost(encoded.failed, "internal_sdk_error")
        if not encoded.spans:
            return SpanExportResult.SUCCESS
        result: SpanExportResult = self._exporter.export(encoded)
        return result

    def shutdown(self) -> None:
        """End what is under way."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Return ``True``: nothing is kept here."""
        return True
