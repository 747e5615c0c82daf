from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading

import pytest
import sentry_sdk
from starlette.requests import Request
from starlette.websockets import WebSocket

import otel_sentry
from otel_sentry.errors.api import is_sending

SCOPE = {
    "type": "http",
    "method": "POST",
    "scheme": "https",
    "server": ("shop.example", 443),
    "path": "/pay",
    "query_string": b"page=2&token=Zq9xSekrit7Wv",
    "headers": [(b"host", b"shop.example"), (b"authorization", b"Bearer Zq9xSekrit7Wv")],
    "client": ("192.0.2.7", 4711),
}

CALLS = [
    lambda: otel_sentry.capture_exception(ValueError()),
    lambda: otel_sentry.capture_exception(ValueError),
    otel_sentry.capture_exception,
    lambda: otel_sentry.capture_message("hello"),
    lambda: otel_sentry.set_user_context("1", role="admin"),
    otel_sentry.clear_user_context,
    lambda: otel_sentry.set_request_context(Request(SCOPE)),
    lambda: otel_sentry.set_request_context(None),
    lambda: otel_sentry.add_breadcrumb("step"),
    lambda: otel_sentry.set_tag("a", "b"),
    lambda: otel_sentry.set_context("a", {}),
    lambda: otel_sentry.flush(1),
]


class NeedsArgumentsError(Exception):
    """Cannot be made without saying what is wrong."""

    def __init__(self, what):
        super().__init__(f"{what} is wrong")


@pytest.mark.parametrize("call", CALLS)
def test_nothing_happens_without_a_client(call):
    """All functions do nothing, and return nothing, while there is no client."""
    assert not is_sending()
    assert call() is None


def test_nothing_is_imported_while_off():
    """What is called on each request of an application without a DSN imports no SDK."""
    code = (
        "import sys, otel_sentry as o\n"
        "o.capture_exception(ValueError()); o.capture_message('m'); o.set_tag('a', 'b')\n"
        "o.set_user_context(1); o.add_breadcrumb('b'); o.flush()\n"
        "print([m for m in ('sentry_sdk', 'opentelemetry.sdk', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_exceptions(far):
    """An exception is sent with what is said of it, and what is said of it stays with it."""
    event_id = otel_sentry.capture_exception(
        ValueError("bad"), extra={"order": 7, "password": "Zq9x"}, level="warn", tags={"shop": "eu"}
    )
    otel_sentry.capture_exception(KeyError("plain"))

    told, plain = far.errors()
    assert told["event_id"] == event_id
    assert told["level"] == "warning"
    assert told["tags"] == {"shop": "eu"}
    assert {name: told["extra"][name] for name in ("order", "password")} == {
        "order": 7,
        "password": "[Filtered]",
    }
    assert plain["level"] == "error"
    assert not plain.get("tags")
    assert "order" not in plain.get("extra", {})


@pytest.mark.parametrize("error", [ValueError, NeedsArgumentsError])
def test_exception_classes(far, error):
    """A class stands for an exception of it, whatever its constructor wants."""
    assert otel_sentry.capture_exception(error)
    (event,) = far.errors()
    assert event["exception"]["values"][-1]["type"] == error.__name__


def test_the_exception_being_handled(far):
    """Without an argument the one being handled is sent, with its traceback."""
    try:
        raise ValueError("being handled")  # noqa: TRY301 - where it comes from is asserted
    except ValueError:
        otel_sentry.capture_exception()
    (event,) = far.errors()
    (value,) = event["exception"]["values"]
    assert value["value"] == "being handled"
    assert value["stacktrace"]["frames"][-1]["function"] == "test_the_exception_being_handled"


def test_messages(far):
    """A message is sent with its level."""
    event_id = otel_sentry.capture_message("hello", level="critical", extra={"a": 1})
    otel_sentry.capture_message("there")

    first, second = far.errors()
    assert first["event_id"] == event_id
    assert (first["message"], first["level"], first["extra"]["a"]) == ("hello", "fatal", 1)
    assert second["level"] == "info"


def test_context(far):
    """User, tags, contexts and breadcrumbs show on what follows."""
    otel_sentry.set_user_context(7, "ada@example.com", "ada", role="admin")
    otel_sentry.set_tag("shop", "eu")
    otel_sentry.set_context("cart", {"items": 3})
    otel_sentry.add_breadcrumb("paid", "shop", "warn", {"amount": 5})
    otel_sentry.capture_message("with")
    otel_sentry.clear_user_context()
    otel_sentry.capture_message("without")

    first, second = far.errors()
    assert (first["user"]["id"], first["user"]["role"]) == (7, "admin")
    assert first["tags"] == {"shop": "eu"}
    assert first["contexts"]["cart"] == {"items": 3}
    (crumb,) = first["breadcrumbs"]["values"]
    assert (crumb["message"], crumb["category"], crumb["level"]) == ("paid", "shop", "warning")
    assert crumb["data"] == {"amount": 5}
    assert not second.get("user")


def test_requests(far):
    """A request is described without its body and without secrets; the last one set counts."""
    otel_sentry.set_request_context(WebSocket({**SCOPE, "type": "websocket"}, None, None))
    otel_sentry.set_request_context(Request(SCOPE))
    otel_sentry.capture_message("about a request")

    (event,) = far.errors()
    request = event["request"]
    assert request["method"] == "POST"
    assert request["url"] == "https://shop.example/pay"
    assert request["query_string"] == "page=2&token=[Filtered]"
    assert request["headers"] == {"host": "shop.example", "authorization": "[Filtered]"}
    assert "data" not in request
    assert set(event["contexts"]) <= {"trace", "runtime"}


def test_every_kind_of_code(far):
    """What a function sets reaches what is captured in coroutines and their worker threads."""

    async def handle():
        await asyncio.to_thread(otel_sentry.set_user_context, "ada")
        await asyncio.to_thread(otel_sentry.capture_message, "thread")
        otel_sentry.capture_message("task")

    asyncio.run(handle())
    thread = threading.Thread(target=otel_sentry.capture_message, args=["plain thread"])
    thread.start()
    thread.join()

    assert {event["message"] for event in far.errors()} == {"thread", "task", "plain thread"}
    assert {event["user"]["id"] for event in far.errors()} == {"ada"}


def test_faults_stay_inside(far, monkeypatch, caplog):
    """What goes wrong inside is logged without its text, and never raised."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert otel_sentry.set_request_context(object()) is None
    assert otel_sentry.set_context("a", 3) is None
    assert otel_sentry.capture_exception("not an exception") is None
    assert len([r for r in caplog.records if r.name == "otel_sentry"]) == 3


def test_lines_about_telemetry(far):
    """No event or breadcrumb comes from lines about telemetry, nor from a server's access log."""
    for name in ("otel_sentry", "opentelemetry.sdk.trace", "sentry_sdk.errors", "opentelemetry"):
        logging.getLogger(name).error("something about telemetry")
    logging.getLogger("opentelemetry_shop").error("a shop's own line")
    far.options.ignore_loggers = ["noisy"]
    logging.getLogger("noisy.library").error("noise")
    sentry_sdk.add_breadcrumb(category="noisy", message="noise")
    logging.getLogger("uvicorn.access").warning('203.0.113.7:50123 - "GET / HTTP/1.1" 200')
    otel_sentry.capture_message("last")

    own, last = far.errors()
    assert own["logentry"]["message"] == "a shop's own line"
    assert [crumb["category"] for crumb in last["breadcrumbs"]["values"]] == ["opentelemetry_shop"]


def test_levels_of_lines(far):
    """Lines from INFO on are breadcrumbs, from ERROR on events."""
    log = logging.getLogger("shop")
    log.setLevel("DEBUG")
    try:
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(log, level)(level)
    finally:
        log.setLevel("NOTSET")

    errors = far.errors()
    assert [event["level"] for event in errors] == ["error", "fatal"]
    crumbs = [crumb["message"] for crumb in errors[1]["breadcrumbs"]["values"]]
    assert crumbs == ["info", "warning", "error"]
