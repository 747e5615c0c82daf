"""
Read OTLP trace requests: protobuf or JSON, flattened to one plain object a span.

Both forms take one road: protobuf is turned into OTLP's JSON first, whose only difference is that
ids are hexadecimal there (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from otel_sentry.cli.tail._items import MAX_ITEMS, Item, Refused, load_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# opentelemetry/proto/trace/v1/trace.proto: SpanKind and Status.StatusCode by number.
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_CODES = ("UNSET", "OK", "ERROR")


def parse_traces(body: bytes, content_type: str, path: str) -> list[Item]:
    """
    Return one Item of kind "otlp_span" for each span of an ExportTraceServiceRequest.

    Its payload has the keys trace_id, span_id, parent_span_id (None for a root), trace_state, name,
    kind ("SERVER"), flags, start_time_unix_nano, end_time_unix_nano, attributes, events, links,
    status ({"code": "ERROR", "message": ""}), resource (its attributes) and scope ({"name",
    "version"}).

    Raises:
        Refused: 400 if it is malformed, 413 if it holds too many spans.
    """
    if content_type == "application/json":
        data, read_id = load_object(body, "the request"), _lower
    else:
        data, read_id = _from_protobuf(body), _hex
    try:
        items = [Item("otlp_span", span, path=path) for span in _spans(data, read_id)]
    # RecursionError: attributes nested a thousand levels deep.
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise Refused(400, "the request is no valid ExportTraceServiceRequest") from error
    if len(items) > MAX_ITEMS:
        raise Refused(413, f"a request may hold {MAX_ITEMS} spans here")
    return items


def _from_protobuf(body: bytes) -> dict[str, Any]:
    from google.protobuf.json_format import Error, MessageToDict
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        message = ExportTraceServiceRequest.FromString(body)
        data: dict[str, Any] = MessageToDict(message, use_integers_for_enums=True)
    except (DecodeError, Error, RecursionError, ValueError) as error:
        raise Refused(400, "the body is no ExportTraceServiceRequest in protobuf") from error
    return data


def _lower(text: str) -> str:
    return text.lower()


def _hex(text: str) -> str:
    return base64.b64decode(text).hex()


def _spans(data: dict[str, Any], read_id: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    for resource_spans in data.get("resourceSpans") or ():
        resource = _attributes(resource_spans.get("resource") or {})
        for scope_spans in resource_spans.get("scopeSpans") or ():
            scope = scope_spans.get("scope") or {}
            for span in scope_spans.get("spans") or ():
                yield {
                    **_span(span, read_id),
                    "resource": resource,
                    "scope": {
                        "name": str(scope.get("name", "")),
                        "version": str(scope.get("version", "")),
                    },
                }


def _span(span: dict[str, Any], read_id: Callable[[str], str]) -> dict[str, Any]:
    status = span.get("status") or {}
    return {
        "trace_id": read_id(span["traceId"]),
        "span_id": read_id(span["spanId"]),
        "parent_span_id": read_id(span.get("parentSpanId") or "") or None,
        "trace_state": str(span.get("traceState", "")),
        "name": str(span.get("name", "")),
        "kind": _KINDS[span.get("kind", 0)],
        "flags": int(span.get("flags", 0)),
        "start_time_unix_nano": int(span.get("startTimeUnixNano", 0)),
        "end_time_unix_nano": int(span.get("endTimeUnixNano", 0)),
        "attributes": _attributes(span),
        "events": [
            {
                "name": str(event.get("name", "")),
                "time_unix_nano": int(event.get("timeUnixNano", 0)),
                "attributes": _attributes(event),
            }
            for event in span.get("events") or ()
        ],
        "links": [
            {
                "trace_id": read_id(link["traceId"]),
                "span_id": read_id(link["spanId"]),
                "attributes": _attributes(link),
            }
            for link in span.get("links") or ()
        ],
        "status": {
            "code": _STATUS_CODES[status.get("code", 0)],
            "message": str(status.get("message", "")),
        },
    }


def _attributes(owner: dict[str, Any]) -> dict[str, Any]:
    return {str(pair["key"]): _value(pair.get("value")) for pair in owner.get("attributes") or ()}


def _value(value: dict[str, Any] | None) -> Any:
    """Unwrap an AnyValue; bytes stay base64 text."""
    for kind, content in (value or {}).items():
        if kind == "intValue":
            return int(content)
        if kind == "arrayValue":
            return [_value(entry) for entry in content.get("values") or ()]
        if kind == "kvlistValue":
            return _attributes({"attributes": content.get("values")})
        return content
    return None
