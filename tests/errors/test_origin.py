from __future__ import annotations

import pytest
from billiard.einfo import ExceptionInfo
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext

from otel_sentry.errors.origin import failed_span, unwrapped


@pytest.fixture
def tracer():
    """Return a tracer of the SDK."""
    return TracerProvider(shutdown_on_exit=False).get_tracer("tests")


def fail_in_spans(tracer, *names):
    """Raise through a span for each name, the first one outermost; return the error and spans."""
    spans = {}

    def enter(first, *others):
        with tracer.start_as_current_span(first) as span:
            spans[first] = span.get_span_context()
            if others:
                enter(*others)
            raise KeyError(first)

    with pytest.raises(KeyError) as caught:
        enter(*names)
    return caught.value, spans


def test_the_innermost_span_that_it_ended(tracer):
    """Of the spans that an exception left, the one it happened in is found after their end."""
    error, spans = fail_in_spans(tracer, "request", "query")

    assert failed_span(error) == spans["query"]


def test_a_span_that_did_not_fail(tracer):
    """A span that is still open, or ended well, or is not recorded, is none that failed."""
    open_span, done = tracer.start_span("open"), tracer.start_span("done")
    done.end()

    def fail(span):
        raise KeyError(span)

    for one in (open_span, done, NonRecordingSpan(SpanContext(1, 1, is_remote=True)), "no span"):
        with pytest.raises(KeyError) as caught:
            fail(one)
        assert failed_span(caught.value) is None


def test_what_it_was_raised_from(tracer):
    """The span of an exception's cause is not the exception's."""
    cause, _ = fail_in_spans(tracer, "query")

    with pytest.raises(LookupError) as caught:
        raise LookupError from cause
    assert failed_span(caught.value) is None


def test_an_exception_without_traceback():
    """One that was never raised passed no span."""
    assert failed_span(ValueError()) is None


class Lazy:
    """A proxy, whose object nobody has asked for yet."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


def test_what_else_goes_by_the_names_of_spans():
    """A lazy object is neither evaluated nor asked."""

    def fail(span, context):
        raise KeyError(type(span), type(context))

    with pytest.raises(KeyError) as caught:
        fail(Lazy(), Lazy())
    assert failed_span(caught.value) is None


def test_a_wrapped_exception():
    """What billiard wraps to carry a traceback is the exception inside; any other is itself."""
    error = ValueError("inside")
    try:
        raise error
    except ValueError:
        wrapped = ExceptionInfo().exception

    assert unwrapped(wrapped) is error
    assert unwrapped(error) is error
    assert unwrapped(None) is None
