"""
Map a span's outcome to a Sentry span status.

Source: https://develop.sentry.dev/sdk/telemetry/traces/status/ (names and HTTP mapping),
https://grpc.github.io/grpc/core/md_doc_statuscodes.html and
https://www.iana.org/assignments/websocket/websocket.xhtml (close codes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Status, StatusCode

from otel_sentry.semantics._meaning import text, whole

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

_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)

# Contrib records a WebSocket's close code as its HTTP code, and calls all of them errors.
_BY_CLOSE_CODE = {
    1002: "invalid_argument",
    1003: "invalid_argument",
    1006: "cancelled",  # the connection broke
    1007: "invalid_argument",
    1008: "permission_denied",
    1009: "resource_exhausted",
    1010: "failed_precondition",
    1011: "internal_error",
    1012: "unavailable",
    1013: "unavailable",
    1014: "unavailable",
}

_CLOSE_CODES = range(1000, 5000)

_BY_GRPC_CODE = (
    "ok",
    "cancelled",
    "unknown_error",  # what a server's unhandled exception is; Relay reads it as internal_error
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

_BY_NAME = {
    **{name: name for name in _BY_GRPC_CODE},
    "canceled": "cancelled",
    "internal": "internal_error",
    "unknown": "unknown_error",
}

# The last part of an exception's name; every other exception is an internal error.
_BY_EXCEPTION = {
    "CancelledError": "cancelled",
    "ConnectTimeout": "deadline_exceeded",
    "ConnectTimeoutError": "deadline_exceeded",
    "PoolTimeout": "deadline_exceeded",
    "ReadTimeout": "deadline_exceeded",
    "ReadTimeoutError": "deadline_exceeded",
    "ServerTimeoutError": "deadline_exceeded",
    "SoftTimeLimitExceeded": "deadline_exceeded",
    "TimeLimitExceeded": "deadline_exceeded",
    "Timeout": "deadline_exceeded",
    "TimeoutError": "deadline_exceeded",
    "WriteTimeout": "deadline_exceeded",
    "timeout": "deadline_exceeded",
}


def sentry_status(status: Status, attributes: Mapping[str, Any]) -> str:
    """Return ``ok``, ``not_found``, ``internal_error``, ... for a finished span."""
    if status.status_code is StatusCode.OK:
        return "ok"
    code = whole(attributes, "http.response.status_code", "http.status_code")
    # An RPC that failed may have come in a good HTTP response.
    by_code = _from_rpc(attributes) or _from_http(code)
    if by_code is not None:
        return by_code
    if status.status_code is StatusCode.ERROR:
        # A stream that broke after "200 OK" was sent has a good code and a bad end.
        return _from_error(status, attributes, code)
    return "cancelled" if code is None and _is_whole_request(attributes) else "ok"


def _is_whole_request(attributes: Mapping[str, Any]) -> bool:
    """
    Return whether an HTTP instrumentation made the span; a span by hand may never have a code.

    Of those, a span with neither a response nor an exception was cancelled, because the client went
    away or a time limit ended for example. OpenTelemetry does not call that an error. Clients of
    databases, as Elasticsearch's, say their requests without a code of HTTP.
    """
    return bool(
        text(attributes, "http.request.method", "http.method")
        and text(attributes, "url.scheme", "http.scheme", "url.full", "http.url")
        and not text(attributes, "db.system.name", "db.system")
    )


def _from_http(code: int | None) -> str | None:
    """Return what a code says that is not good."""
    if code is None:
        return None
    if code in _BY_HTTP_CODE:
        return _BY_HTTP_CODE[code]
    if code in _CLIENT_ERRORS:
        return "invalid_argument"
    return "internal_error" if code in _SERVER_ERRORS else _BY_CLOSE_CODE.get(code)


def _from_rpc(attributes: Mapping[str, Any]) -> str | None:
    """Return what a code says that is not good: a number of gRPC's, or a name."""
    found = None
    number = whole(attributes, "rpc.grpc.status_code")
    name = text(attributes, "rpc.response.status_code", "rpc.connect_rpc.error_code")
    if number is None and name.isdecimal() and text(attributes, "rpc.system.name") == "grpc":
        number = whole(attributes, "rpc.response.status_code")
    if number is not None and 0 <= number < len(_BY_GRPC_CODE):
        found = _BY_GRPC_CODE[number]
    elif name:
        found = _BY_NAME.get(name.lower())
    return None if found == "ok" else found


def _from_error(status: Status, attributes: Mapping[str, Any], code: int | None) -> str:
    """Return what the description or the exception says; its type stands before the colon."""
    description = status.description if isinstance(status.description, str) else ""
    if code in _CLOSE_CODES and not description:
        return "ok"  # only contrib called it an error
    named = _BY_NAME.get(description.lower())
    if named is not None and named != "ok":
        return named
    for exception in (text(attributes, "error.type"), description.partition(":")[0]):
        found = _BY_EXCEPTION.get(exception.rpartition(".")[2])
        if found is not None:
            return found
    return "internal_error"
