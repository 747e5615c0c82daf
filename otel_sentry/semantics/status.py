"""
Map a span's outcome to a Sentry span status.

Source: https://develop.sentry.dev/sdk/telemetry/traces/status/ (names and HTTP mapping) and
https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Status, StatusCode

from otel_sentry.semantics._meaning import first

if TYPE_CHECKING:
    from collections.abc import Mapping

_BY_HTTP_CODE = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    409: "already_exists",
    413: "failed_precondition",
    429: "resource_exhausted",
    499: "cancelled",
    500: "internal_error",
    501: "unimplemented",
    503: "unavailable",
    504: "deadline_exceeded",
}

_BY_GRPC_CODE = (
    "ok",
    "cancelled",
    "unknown_error",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal_error",
    "unavailable",
    "data_loss",
    "unauthenticated",
)

_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)


def sentry_status(status: Status, attributes: Mapping[str, Any]) -> str:
    """Return ``ok``, ``not_found``, ``internal_error``, ... for a finished span."""
    if status.status_code is StatusCode.OK:
        return "ok"
    by_code = _from_http(attributes) or _from_grpc(attributes)
    if by_code and by_code != "ok":
        return by_code
    if status.status_code is StatusCode.ERROR:
        # A stream that broke after "200 OK" was sent has a good code and a bad end.
        return status.description if status.description in _BY_GRPC_CODE else "internal_error"
    return "ok"


def _from_http(attributes: Mapping[str, Any]) -> str | None:
    code = _whole(first(attributes, "http.response.status_code", "http.status_code"))
    if code is None:
        return None
    if code in _BY_HTTP_CODE:
        return _BY_HTTP_CODE[code]
    if code in _CLIENT_ERRORS:
        return "invalid_argument"
    return "internal_error" if code in _SERVER_ERRORS else "ok"


def _from_grpc(attributes: Mapping[str, Any]) -> str | None:
    code = _whole(first(attributes, "rpc.grpc.status_code"))
    return _BY_GRPC_CODE[code] if code is not None and 0 <= code < len(_BY_GRPC_CODE) else None


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
