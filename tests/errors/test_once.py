from __future__ import annotations

import contextlib
import logging
import threading
from contextvars import copy_context

import sentry_sdk
from opentelemetry.sdk.trace import TracerProvider
from sentry_sdk.scope import remove_external_propagation_context

from otel_sentry.errors.linking import start_linking
from otel_sentry.errors.once import mark_sent, was_sent
from tests.errors.groups import Group

log = logging.getLogger("shop")


def test_units_of_work():
    """An exception is sent once in a unit of work; what comes from outside of one adds nothing."""
    error = ValueError()
    assert not was_sent(error, "a")
    mark_sent(error, "a")
    assert [was_sent(error, unit) for unit in ("a", "", "b")] == [True, True, False]
    mark_sent(error, "")
    assert was_sent(error, "b")


def test_groups():
    """A group says nothing new where all it holds was sent, and nothing in it does after it."""
    first, second = ValueError(), KeyError()
    group = Group("group", [first, Group("inner", [second])])
    mark_sent(first, "a")
    assert not was_sent(group, "a")
    mark_sent(group, "a")
    assert was_sent(second, "a")
    assert was_sent(group, "a")


def test_logged_captured_and_raised(far):
    """The same exception, logged in a thread, captured and captured again, is one event."""
    error = ValueError("once")

    def in_thread():
        try:
            raise error
        except ValueError:
            log.exception("it failed")

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    sentry_sdk.capture_exception(error)
    sentry_sdk.capture_exception(Group("group", [error]))
    log.error("again", exc_info=error)

    (event,) = far.errors()
    assert event["logger"] == "shop"
    assert far.lost() == {"before_send": 3}


def test_one_object_in_two_requests(far):
    """An exception object that an application keeps and raises again is an event each time."""
    error = ValueError("kept")
    start_linking()
    try:
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")

        def request():
            with tracer.start_as_current_span("request") as span:
                sentry_sdk.capture_exception(error)
                sentry_sdk.capture_exception(error)
                return f"{span.get_span_context().trace_id:032x}"

        traces = [copy_context().run(request) for _ in range(2)]
    finally:
        remove_external_propagation_context()

    assert [event["contexts"]["trace"]["trace_id"] for event in far.errors()] == traces


def test_what_a_hook_dropped_may_come_again(far):
    """An exception that was not sent is no duplicate."""
    error = ValueError("noise")
    far.options.is_noisy_error = lambda _: True
    sentry_sdk.capture_exception(error)
    far.options.is_noisy_error = None
    with contextlib.suppress(ValueError):
        sentry_sdk.capture_exception(error)

    assert len(far.errors()) == 1
    assert far.lost() == {"before_send": 1}
