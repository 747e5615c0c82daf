"""The backend ``otlp``: to an OpenTelemetry Collector, as ``OTEL_EXPORTER_OTLP_*`` say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from otel_sentry._logging import logger
from otel_sentry.backends._scrubbed import scrubbed_batches

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

    from otel_sentry.backends import Bridge


def build(bridge: Bridge) -> SpanProcessor:
    """Return the span processor."""
    return scrubbed_batches(_exporter(), bridge)


def _exporter() -> SpanExporter:
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    ).strip()
    if protocol == "grpc":
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
                OTLPSpanExporter as GrpcExporter,
            )
        except ImportError:
            logger.warning(
                "OTEL_EXPORTER_OTLP_PROTOCOL=grpc needs a package that is not installed; using"
                " http/protobuf instead. Install it: pip install 'otel-sentry[grpc]'"
            )
        else:
            exporter: SpanExporter = GrpcExporter()
            return exporter
    elif protocol != "http/protobuf":
        logger.warning(
            "OTEL_EXPORTER_OTLP_PROTOCOL=%s is ignored; using http/protobuf. Set it to"
            " http/protobuf or grpc.",
            protocol,
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
