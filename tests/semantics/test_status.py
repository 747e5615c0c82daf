from __future__ import annotations

import pytest
from opentelemetry.trace import Status, StatusCode
from sentry_relay.consts import SPAN_STATUS_NAME_TO_CODE
from sentry_sdk.tracing import get_span_status_from_http_code

from otel_sentry.semantics import sentry_status, status

UNSET, OK, ERROR = StatusCode.UNSET, StatusCode.OK, StatusCode.ERROR
_METHOD = {"http.request.method": "GET"}
_ELASTICSEARCH = {**_METHOD, "url.full": "http://h/_search", "db.response.status_code": "200"}
_GRPC = {"rpc.system.name": "grpc"}


@pytest.mark.parametrize(
    ("code", "description", "attributes", "expected"),
    [
        (UNSET, None, {}, "ok"),
        (OK, None, {"http.status_code": 500}, "ok"),
        (ERROR, None, {}, "internal_error"),
        (ERROR, "it broke", {}, "internal_error"),
        # HTTP
        (UNSET, None, {"http.status_code": 200}, "ok"),
        (UNSET, None, {"http.response.status_code": 302}, "ok"),
        (UNSET, None, {"http.status_code": "404"}, "not_found"),
        (UNSET, None, {"http.response.status_code": 404.0}, "not_found"),
        (UNSET, None, {"http.status_code": 418}, "invalid_argument"),
        (ERROR, None, {"http.status_code": 599}, "internal_error"),
        (UNSET, None, {"http.status_code": 499}, "cancelled"),
        (UNSET, None, {"http.response.status_code": 200, "http.status_code": 500}, "ok"),
        (UNSET, None, {"http.status_code": float("nan")}, "ok"),
        (UNSET, None, {"http.status_code": (404,)}, "ok"),
        # Streams that broke, requests that were cancelled
        (ERROR, "ConnectionError: ", {**_METHOD, "http.status_code": 200}, "internal_error"),
        (UNSET, None, {**_METHOD, "url.scheme": "http"}, "cancelled"),
        (UNSET, None, {"http.method": "GET", "http.url": "http://h/"}, "cancelled"),
        (UNSET, None, _METHOD, "ok"),
        (UNSET, None, {"http.url": "http://h/"}, "ok"),
        # A database that speaks HTTP: its client says the code in another word, or nowhere
        (UNSET, None, {**_ELASTICSEARCH, "db.system": "elasticsearch"}, "ok"),
        (UNSET, None, {**_ELASTICSEARCH, "db.system.name": "elasticsearch"}, "ok"),
        (UNSET, None, {**_ELASTICSEARCH, "db.system": ""}, "cancelled"),
        (ERROR, "CancelledError: ", _METHOD, "cancelled"),
        (ERROR, None, {"error.type": "asyncio.exceptions.CancelledError"}, "cancelled"),
        (ERROR, "ReadTimeout: timed out", _METHOD, "deadline_exceeded"),
        (ERROR, None, {"error.type": "TimeoutError"}, "deadline_exceeded"),
        (ERROR, None, {"error.type": "LookupError"}, "internal_error"),
        (ERROR, "unavailable", {}, "unavailable"),
        (ERROR, "ok", {}, "internal_error"),
        # Close codes of WebSockets, which contrib calls errors
        (ERROR, None, {"http.status_code": 1000}, "ok"),
        (ERROR, None, {"http.status_code": 1001}, "ok"),
        (ERROR, None, {"http.status_code": 4001}, "ok"),
        (ERROR, None, {"http.status_code": 1006}, "cancelled"),
        (ERROR, None, {"http.status_code": 1011}, "internal_error"),
        (ERROR, "LookupError: ", {"http.status_code": 1000}, "internal_error"),
        # RPC
        (UNSET, None, {"rpc.grpc.status_code": 0}, "ok"),
        (ERROR, None, {"rpc.grpc.status_code": 5}, "not_found"),
        (ERROR, None, {"rpc.grpc.status_code": 2}, "unknown_error"),
        (ERROR, None, {"rpc.grpc.status_code": 17}, "internal_error"),
        (UNSET, None, {"rpc.grpc.status_code": 14, "http.status_code": 200}, "unavailable"),
        (ERROR, None, {**_GRPC, "rpc.response.status_code": "DEADLINE_EXCEEDED"},
         "deadline_exceeded"),
        (ERROR, None, {**_GRPC, "rpc.response.status_code": "5"}, "not_found"),
        (ERROR, None, {**_GRPC, "rpc.response.status_code": "INTERNAL"}, "internal_error"),
        (UNSET, None, {**_GRPC, "rpc.response.status_code": "OK"}, "ok"),
        (ERROR, None, {"rpc.system.name": "dubbo", "rpc.response.status_code": "5"},
         "internal_error"),
        (ERROR, None, {"rpc.connect_rpc.error_code": "canceled"}, "cancelled"),
    ],
)  # fmt: skip
def test_an_outcome_is_what_the_table_says(code, description, attributes, expected):
    """The code of the protocol says more than OpenTelemetry's status, which says more than none."""
    assert sentry_status(Status(code, description), attributes) == expected


@pytest.mark.parametrize("code", range(100, 600))
def test_http_codes_mean_what_sentry_sdk_says(code):
    """A service that moves from sentry-sdk's own tracing keeps its statuses."""
    expected = "cancelled" if code == 499 else get_span_status_from_http_code(code)
    assert sentry_status(Status(UNSET), {"http.status_code": code}) == expected


def test_relay_knows_every_status():
    """No table has a name that Sentry would not recognise."""
    names = {
        *status._BY_HTTP_CODE.values(),
        *status._BY_CLOSE_CODE.values(),
        *status._BY_NAME.values(),
        *status._BY_EXCEPTION.values(),
    }
    assert names <= set(SPAN_STATUS_NAME_TO_CODE)
