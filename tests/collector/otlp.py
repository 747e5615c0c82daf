"""Make OTLP requests span by span, and post them."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

ERROR = 2  # opentelemetry/proto/trace/v1/trace.proto, Status.StatusCode
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Sent:
    """A span as it is sent."""

    trace_id: int
    span_id: int
    parent_id: int = 0
    name: str = "work"
    trace_state: str = ""
    milliseconds: int = 5
    failed: bool = False
    attributes: dict[str, str] = field(default_factory=dict)


def encode(spans: Iterable[Sent]) -> bytes:
    """Return an ExportTraceServiceRequest of one service."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    now = time.time_ns()
    for span in spans:
        made = scope.spans.add(
            trace_id=span.trace_id.to_bytes(16, "big"),
            span_id=span.span_id.to_bytes(8, "big"),
            parent_span_id=span.parent_id.to_bytes(8, "big") if span.parent_id else b"",
            name=span.name,
            trace_state=span.trace_state,
            start_time_unix_nano=now,
            end_time_unix_nano=now + span.milliseconds * 1_000_000,
        )
        made.status.code = ERROR if span.failed else 0
        for key, value in span.attributes.items():
            made.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


def post(url: str, body: bytes, timeout: float = 20) -> int:
    """Post a request to ``/v1/traces`` and return the status; 0: nobody answered."""
    request = urllib.request.Request(
        f"{url}/v1/traces", body, {"Content-Type": "application/x-protobuf"}
    )
    try:
        with _opener.open(request, timeout=timeout) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
