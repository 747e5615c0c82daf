from __future__ import annotations

from contextvars import Context, copy_context

import pytest
import sentry_sdk
from opentelemetry.context import Context as NoSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, use_span
from sentry_sdk.scope import remove_external_propagation_context

from otel_sentry._sentry_sdk import handed_on
from otel_sentry.errors.linking import (
    _base_scope,
    _local_roots,
    current_span_context,
    external_propagation_context,
    link,
    local_root,
    remember_left_out,
    remember_root,
    span_context_of,
    start_linking,
)
from otel_sentry.sampling import SentrySampler


@pytest.fixture
def tracer():
    """Return a tracer; linking is on, and off again afterwards."""
    start_linking()
    yield TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    _base_scope.clear()
    remove_external_propagation_context()


def start(tracer, name="request", kind=SpanKind.SERVER):
    """Start a root and remember it."""
    span = tracer.start_span(name, kind=kind)
    remember_root(span)
    return span


def fail_if(reason):
    """Raise a KeyError, if there is a reason."""
    if reason:
        raise KeyError(reason)


def test_the_current_span_is_the_one(tracer):
    """An error belongs to the span that is current when it is captured."""
    with use_span(tracer.start_span("root")) as span:
        assert current_span_context() is span.get_span_context()


def test_nothing_to_link_to(tracer):
    """Without a span and without a remembered root there is no trace."""
    assert Context().run(external_propagation_context) is None


def test_the_root_is_found_after_its_end(tracer):
    """An error outside the middleware belongs to the root of the same isolation scope."""

    def request():
        root = start(tracer)
        root.end()
        return root, current_span_context()

    root, found = copy_context().run(request)
    assert found is root.get_span_context()


def test_a_root_of_another_scope_is_stale(tracer):
    """A root that was remembered in another isolation scope is not ours."""

    def request():
        start(tracer).end()
        with sentry_sdk.isolation_scope():
            return local_root()

    assert copy_context().run(request) is None


def test_requests_get_scopes_of_their_own(tracer):
    """Where no integration forks the scope, what one request sets does not reach the next."""

    def request(name):
        start(tracer).end()
        before = dict(sentry_sdk.get_isolation_scope()._tags)
        sentry_sdk.get_isolation_scope().set_tag("name", name)
        return before

    def one_thread():
        return [request(name) for name in ("ada", "bob", "eve")]

    assert [copy_context().run(request, name) for name in ("ada", "bob")] == [{}, {}]
    assert copy_context().run(one_thread) == [{}, {}, {}]
    assert Context().run(one_thread) == [{}, {}, {}]


def test_a_scope_that_an_integration_forked_is_kept(tracer):
    """sentry-sdk's own integrations know better: their scope stays."""

    def request():
        with sentry_sdk.isolation_scope() as scope:
            start(tracer)
            return sentry_sdk.get_isolation_scope() is scope

    assert copy_context().run(request)


def test_a_script_keeps_its_scope(tracer):
    """A root that is no request and no task changes no scope."""

    def script():
        before = sentry_sdk.get_isolation_scope()
        start(tracer, kind=SpanKind.INTERNAL)
        return sentry_sdk.get_isolation_scope() is before

    assert copy_context().run(script)


def test_events_bear_name_and_sampling_context(tracer):
    """An event gets the name of its transaction and the sampling context of its trace."""

    def request():
        root = start(tracer, "checkout")
        trace_id, span_id = external_propagation_context()
        event = {"contexts": {"trace": {"trace_id": trace_id, "span_id": span_id}}}
        link(event, lambda context: {"trace_id": f"{context.trace_id:032x}"})
        root.end()
        return event

    event = copy_context().run(request)
    assert event["transaction"] == "checkout"
    trace = event["contexts"]["trace"]
    assert trace["dynamic_sampling_context"] == {"trace_id": trace["trace_id"]}


def test_an_event_of_another_trace_gets_no_sampling_context(tracer):
    """A trace context that someone else set is not mixed with ours."""

    def request():
        start(tracer)
        event = {"contexts": {"trace": {"trace_id": "f" * 32}}}
        link(event, lambda _: {"wrong": "one"})
        return event

    assert "dynamic_sampling_context" not in copy_context().run(request)["contexts"]["trace"]


def test_a_root_within_a_request(tracer):
    """After a root within a request, of its trace or not, errors are the request's again."""

    def request(kind, context):
        root = start(tracer)
        with use_span(root):
            inner = tracer.start_span("inner", context=context, kind=kind)
            remember_root(inner)
            during = local_root()
            inner.end()
        root.end()
        return during is inner, local_root() is root

    for kind in (SpanKind.INTERNAL, SpanKind.CONSUMER):
        for context in (None, NoSpan()):
            assert copy_context().run(request, kind, context) == (True, True)


def test_an_eager_task_within_a_request(tracer):
    """It has a scope of its own; after it the request's root is found in the request's."""

    def request():
        root = start(tracer)
        with sentry_sdk.isolation_scope():
            task = start(tracer, "task", SpanKind.CONSUMER)
            task.end()
        return local_root() is root

    assert copy_context().run(request)


def test_roots_that_never_end(tracer):
    """A loop that forgets to end its roots keeps ten of them."""

    def loop():
        for number in range(50):
            start(tracer, str(number), SpanKind.INTERNAL)
        return len(_local_roots.get())

    assert copy_context().run(loop) == 10


def test_what_was_set_around_a_loop_stays(tracer):
    """What a worker sets before its loop over messages is in the scope of each."""

    def loop():
        with sentry_sdk.isolation_scope() as scope:
            scope.set_tag("worker", "A")
            for number in range(3):
                start(tracer, "message", SpanKind.CONSUMER).end()
                tags = dict(sentry_sdk.get_isolation_scope()._tags)
                sentry_sdk.set_tag("message", number)
                yield tags

    assert copy_context().run(lambda: list(loop())) == [{"worker": "A"}] * 3


def test_after_a_script_s_root(tracer):
    """What is said later is none of its business; the exception that ended it is."""

    def script(fail):
        try:
            with tracer.start_as_current_span("script") as root:
                remember_root(root)
                fail_if(fail)
        except KeyError as error:
            return (root, current_span_context(), span_context_of(error))
        return (root, current_span_context(), span_context_of(ValueError("of a later step")))

    root, said, raised = copy_context().run(script, fail=True)
    assert (said, raised) == (None, root.get_span_context())
    _, said, raised = copy_context().run(script, fail=False)
    assert (said, raised) == (None, None)


def test_an_exception_that_sentry_sdk_knows_no_trace_of(tracer):
    """An unhandled exception is linked to the span that it left, and bears its root's name."""

    def script():
        try:
            with tracer.start_as_current_span("nightly") as root:
                remember_root(root)
                fail_if(root)
        except KeyError as error:
            event = {"contexts": {"trace": {"trace_id": "f" * 32, "span_id": "f" * 16}}}
            link(event, lambda _: {}, error)
            return root.get_span_context(), event

    span_context, event = copy_context().run(script)
    assert event["contexts"]["trace"]["trace_id"] == f"{span_context.trace_id:032x}"
    assert event["contexts"]["trace"]["span_id"] == f"{span_context.span_id:016x}"
    assert event["transaction"] == "nightly"


@pytest.fixture
def sampled_out(tracer):
    """Return a tracer whose traces are all left out."""
    sampler = SentrySampler(0, on_left_out=remember_left_out)
    return TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("tests")


def test_messages_of_traces_that_are_sampled_out(sampled_out):
    """Each is a unit of work of its own, as it is where it is sampled."""

    def loop():
        for number in range(3):
            with sampled_out.start_as_current_span("process", kind=SpanKind.CONSUMER) as span:
                tags = dict(sentry_sdk.get_isolation_scope()._tags)
                sentry_sdk.set_tag("message", number)
                root = local_root()
                yield tags, span.get_span_context().trace_id == root.get_span_context().trace_id

    assert copy_context().run(lambda: list(loop())) == [({}, True)] * 3


def test_an_error_of_a_trace_that_is_sampled_out(sampled_out):
    """It is linked, after the span, too, and bears the name that the transaction would have."""
    attributes = {"http.request.method": "GET", "http.route": "/orders/{n}"}

    def request():
        try:
            with sampled_out.start_as_current_span(
                "GET /orders/{n}", kind=SpanKind.SERVER, attributes=attributes
            ) as span:
                fail_if(span)
        except KeyError as error:
            trace_id, span_id = external_propagation_context()
            event = {"contexts": {"trace": {"trace_id": trace_id, "span_id": span_id}}}
            link(event, lambda _: {}, error)
            return span.get_span_context(), event

    span_context, event = copy_context().run(request)
    assert event["contexts"]["trace"]["trace_id"] == f"{span_context.trace_id:032x}"
    assert event["transaction"] == "GET /orders/{n}"
    assert event["transaction_info"] == {"source": "route"}


def test_a_mounted_application_of_a_trace_that_is_sampled_out(sampled_out):
    """The outer application's root, and its scope, stay."""

    def request():
        with sampled_out.start_as_current_span("GET /sub", kind=SpanKind.SERVER) as span:
            scope, root = sentry_sdk.get_isolation_scope(), local_root()
            remembered = remember_root(span)  # as FastAPI's hook does in each application
            remembered.update_name("GET /sub/{x}")
            return sentry_sdk.get_isolation_scope() is scope, local_root() is root, root.name

    assert copy_context().run(request) == (True, True, "GET /sub/{x}")


def test_a_fault_in_being_told_of_what_is_left_out():
    """It does not reach the application."""

    def fail(*_):
        raise KeyError

    provider = TracerProvider(sampler=SentrySampler(0, on_left_out=fail), shutdown_on_exit=False)
    assert not provider.get_tracer("tests").start_span("root").is_recording()


def test_the_trace_that_an_application_asks_sentry_sdk_for(tracer):
    """What a request's caller sent is still what a page of it tells the browser."""
    trace_id = "1" * 32
    sent = {
        "sentry-trace": f"{trace_id}-{'2' * 16}-1",
        "baggage": f"sentry-trace_id={trace_id},sentry-release=caller",
    }

    def request():
        with sentry_sdk.isolation_scope() as scope:
            scope.generate_propagation_context(sent)
            before = sentry_sdk.get_traceparent(), sentry_sdk.get_baggage()
            root = start(tracer)
            assert before[0].startswith(trace_id)
            assert (sentry_sdk.get_traceparent(), sentry_sdk.get_baggage()) == before
            assert handed_on(scope.fork()) is root

    copy_context().run(request)
