from __future__ import annotations

from contextvars import Context, copy_context

import pytest
import sentry_sdk
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, use_span
from sentry_sdk.scope import remove_external_propagation_context

from otel_sentry.errors.linking import (
    _base_scope,
    current_span_context,
    external_propagation_context,
    link,
    local_root,
    remember_root,
    start_linking,
)


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
