from __future__ import annotations

import contextlib
import gc
import logging
import threading
from contextvars import copy_context
from functools import partial

import sentry_sdk
from opentelemetry.sdk.trace import TracerProvider
from sentry_sdk.scope import remove_external_propagation_context

from otel_sentry.cli.tail.receiver import Receiver
from otel_sentry.errors.linking import start_linking
from otel_sentry.errors.once import Sent
from tests.errors.groups import Group

log = logging.getLogger("shop")


@contextlib.contextmanager
def traced():
    """Link errors to traces; yield a tracer."""
    start_linking()
    try:
        yield TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    finally:
        remove_external_propagation_context()


def test_units_of_work():
    """An exception is sent once in a unit of work; what comes from outside of one adds nothing."""
    sent = Sent()
    error = ValueError()
    assert not sent.holds(error, "a")
    sent.add(error, "a")
    sent.add(error, "")
    assert [sent.holds(error, unit) for unit in ("a", "", "b")] == [True, True, False]


def test_sent_outside_of_a_unit_of_work():
    """The first unit of work adds nothing: a thread of it may have sent it; the next one does."""
    sent = Sent()
    error = ValueError()
    sent.add(error, "")
    assert sent.holds(error, "a")
    sent.add(error, "a")
    assert [sent.holds(error, unit) for unit in ("a", "b")] == [True, False]


class OwnError(Exception):
    """An exception of an application."""


def test_nothing_is_put_into_an_exception_of_the_application():
    """What it prints, pickles or answers with is its own; the mark goes with the exception."""
    sent = Sent()
    error = OwnError("x")
    sent.add(error, "a")
    assert sent.holds(error, "a")
    assert vars(error) == {}

    before = len(sent._marks)
    del error
    gc.collect()
    assert len(sent._marks) == before - 1


class HostileError(Exception):
    """An exception whose attributes cannot be read."""

    @property
    def __dict__(self):
        raise RuntimeError

    exc = status_code = __dict__

    def __eq__(self, other):
        raise RuntimeError

    __hash__ = None


def test_an_exception_that_nothing_can_be_asked(far):
    """It is sent, once."""
    error = HostileError()
    for _ in range(2):
        sentry_sdk.capture_exception(error)

    assert len(far.errors()) == 1


def test_one_object_sent_at_the_start(far):
    """An exception object that was logged before any request is an event in the second one."""
    error = OwnError("not ready")
    with traced() as tracer:
        thread = threading.Thread(target=partial(log.error, "start-up", exc_info=error))
        thread.start()
        thread.join()

        def request():
            with tracer.start_as_current_span("request"):
                sentry_sdk.capture_exception(error)

        for _ in range(3):
            copy_context().run(request)

    assert [event.get("logger") for event in far.errors()] == ["shop", None, None]


def test_groups():
    """A group says nothing new where all it holds was sent, and nothing in it does after it."""
    sent = Sent()
    first, second = ValueError(), KeyError()
    group = Group("group", [first, Group("inner", [second])])
    sent.add(first, "a")
    assert not sent.holds(group, "a")
    sent.add(group, "a")
    assert sent.holds(second, "a")
    assert sent.holds(group, "a")


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


def test_each_client_sends_it(far):
    """What an application has sent to its Sentry a library that has one of its own sends there."""
    error = ValueError("twice")
    with (
        traced() as tracer,
        tracer.start_as_current_span("request"),
        Receiver() as other,
        sentry_sdk.new_scope() as scope,
    ):
        sentry_sdk.capture_exception(error)
        scope.set_client(sentry_sdk.Client(other.dsn, auto_enabling_integrations=False))
        for _ in range(2):
            sentry_sdk.capture_exception(error)
        sentry_sdk.get_client().close(5)
        assert len(other.errors()) == 1

    assert len(far.errors()) == 1


def test_one_object_in_two_requests(far):
    """An exception object that an application keeps and raises again is an event each time."""
    error = ValueError("kept")
    with traced() as tracer:

        def request():
            with tracer.start_as_current_span("request") as span:
                sentry_sdk.capture_exception(error)
                sentry_sdk.capture_exception(error)
                return f"{span.get_span_context().trace_id:032x}"

        traces = [copy_context().run(request) for _ in range(2)]

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
