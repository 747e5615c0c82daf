"""The backend ``otlp``: to an OpenTelemetry Collector, as ``OTEL_EXPORTER_OTLP_*`` say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from otel_sentry._logging import logger
from otel_sentry.backends._annotate import Annotator
from otel_sentry.backends._batches import Batches
from otel_sentry.backends._queue import BatchQueue, Limits
from otel_sentry.sdk_variables import (
    GRPC,
    GRPC_PACKAGE,
    corrected,
    protocols,
    usable_protocol,
    without_scheme,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

    from otel_sentry.backends import Bridge

# A `requests.Session` that another package registers has its own say about requests.
_CREDENTIALS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)


def build(bridge: Bridge, protocol: str | None = None) -> SpanProcessor:
    """
    Return the span processor.

    Args:
        bridge: What the backends share.
        protocol: ``http/protobuf`` or ``grpc``; without it the environment says.
    """
    named = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol} if protocol else os.environ
    corrected(protocols(named, "traces"))
    is_grpc = usable_protocol(named, "traces") == GRPC
    if not is_grpc and (no_url := without_scheme(os.environ)):
        logger.warning(
            "%s=%s does not start with http:// or https://: no span will arrive there. Set it to"
            " http://<host>:4318.",
            no_url[0],
            bridge.scrubber.text(no_url[1]),
        )
    return Batches(
        BatchQueue(
            lambda: _grpc(bridge) if is_grpc else _http(bridge),
            bridge.scrubber.text(_destination(is_grpc=is_grpc)),
            Limits.from_env(os.environ),
            # gRPC's threads do not survive a fork: none may start in a server's main process.
            lazily=is_grpc,
        )
    )


def _destination(*, is_grpc: bool) -> str:
    return (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or f"http://localhost:{4317 if is_grpc else 4318}"
    )


def _http(bridge: Bridge) -> SpanExporter:
    from otel_sentry.backends._otlp_http import EncodingExporter, HttpExporter, Session, say_less

    say_less("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    session = None if any(map(os.environ.get, _CREDENTIALS)) else Session()
    return EncodingExporter(HttpExporter(session=session), Annotator(bridge), session=session)


def _grpc(bridge: Bridge) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    from otel_sentry.backends._encode import taking_encoded
    from otel_sentry.backends._otlp_http import EncodingExporter, say_less

    say_less(f"{GRPC_PACKAGE}.exporter")
    exporter = taking_encoded(OTLPSpanExporter, "_translate_data")
    return EncodingExporter(exporter(), Annotator(bridge))
