"""Lean spans: cheaper than OpenTelemetry's, and the same in all that anyone sees."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanContext, StatusCode

from otel_sentry import _spans
from tests.faults.driver import printed

OPENTELEMETRY = _spans._Span


class Text(str):
    """A string of the application's own kind."""

    __slots__ = ()


LIMITS = {
    "none": SpanLimits(max_span_attributes=SpanLimits.UNSET),
    "default": SpanLimits(),
    "three": SpanLimits(max_span_attributes=3),
    "no attributes": SpanLimits(max_span_attributes=0),
    "one of each": SpanLimits(max_events=1, max_links=1),
    "short values": SpanLimits(max_span_attribute_length=2),
}
KEYS = st.sampled_from(["a", "b", "c", "d", "e", "", Text("t"), 1, None])
VALUES = st.one_of(
    st.sampled_from(["", "long enough", 0, 1, True, 1.5, None, b"bytes", Text("mine"), object]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["k", ""]), st.integers(), max_size=2),
)
OTHER = SpanContext(1, 2, is_remote=True)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set_attribute"), KEYS, VALUES),
        st.tuples(st.just("set_attributes"), st.dictionaries(KEYS, VALUES, max_size=3)),
        st.tuples(st.just("update_name"), st.just("other")),
        st.tuples(st.just("add_event"), st.just("event")),
        st.tuples(st.just("add_link"), st.just(OTHER), st.none()),
        st.tuples(st.just("set_status"), st.just(StatusCode.OK)),
        st.tuples(st.just("end"), st.integers(2, 9)),
    ),
    max_size=12,
)


class Ended(SpanProcessor):
    """Keep what has ended."""

    def __init__(self):
        self.spans = []

    def on_end(self, span):
        """Keep it."""
        self.spans.append(span)


class Warnings(logging.Handler):
    """Keep what is logged."""

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        """Keep it."""
        self.said.append(record.getMessage())


@pytest.fixture(autouse=True)
def spans_as_they_were():
    """Let other tests have the class of spans that they had."""
    before = sdk._Span
    yield
    sdk._Span = before


def started(span_class, limits=None, attributes=None, processor=None):
    """Return a span of a class."""
    sdk._Span = span_class
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    if processor is not None:
        provider.add_span_processor(processor)
    return provider.get_tracer("t").start_span("name", attributes=attributes, start_time=1)


def seen(span):
    """Return all that a reader finds in a span."""
    return (
        span.name,
        [(key, type(value), value) for key, value in span.attributes.items()],
        span.dropped_attributes,
        [event.name for event in span.events],
        [link.context for link in span.links],
        (span.dropped_events, span.dropped_links),
        span.status.status_code,
        span.end_time,
    )


def test_links_of_the_beginning_are_there():
    """As many as the limit lets be, and those that come later."""
    outcomes = []
    for span_class in (OPENTELEMETRY, _spans.LeanSpan):
        sdk._Span = span_class
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
        span = tracer.start_span(
            "name", links=[Link(OTHER, {"a": 1}), Link(SpanContext(0, 0, False))]
        )
        span.add_link(OTHER, {"a": 2})
        outcomes.append([(link.context, dict(link.attributes)) for link in span.links])
    assert outcomes[0] == outcomes[1] == [(OTHER, {"a": 1}), (OTHER, {"a": 2})]


def slowed(make):
    """Return a function that takes its time."""

    def slowly(*args):
        time.sleep(0.02)
        return make(*args)

    return slowly


def test_the_first_events_of_many_threads_are_there(monkeypatch):
    """Room for them is made once, however long that takes."""
    for name in ("_new_events", "_new_links"):
        monkeypatch.setattr(OPENTELEMETRY, name, slowed(getattr(OPENTELEMETRY, name)))
    span = started(_spans.LeanSpan)
    start = threading.Barrier(4)

    def add():
        start.wait()
        span.add_event("event")
        span.add_link(OTHER)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(span.events), len(span.links)) == (4, 4)


def test_a_span_without_events_and_links_has_no_room_for_them():
    """It is the first thing that a span's memory would go into."""
    span = started(_spans.LeanSpan)
    assert (span._events, span._links) == ((), ())
    assert '"events": []' in span.to_json()


def set_each(*pairs):
    """Return the steps that set attributes."""
    return [("set_attribute", *pair) for pair in pairs]


@example("three", {}, set_each(("a", 1), ("b", 2), ("c", 3), ("a", 4), ("d", 5)))
@example("default", {}, set_each(("a", 1), ("b", 2), ("a", 3)))
@example("default", {}, set_each(("", 1), (None, 1), (1, 1), (Text("t"), 1)))
@example("short values", {"a": "long"}, set_each(("b", "long")))
@example("none", {}, set_each(("a", "long")))
@given(st.sampled_from(sorted(LIMITS)), st.dictionaries(KEYS, VALUES, max_size=3), STEPS)
def test_whatever_is_done_to_it_says_what_opentelemetrys_says(limits, first, steps):
    """The same attributes in the same order, as many dropped, and the same warnings."""
    outcomes = []
    for span_class in (OPENTELEMETRY, _spans.LeanSpan):
        warnings, ended = Warnings(), Ended()
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(warnings)
        try:
            span = started(span_class, LIMITS[limits], first, ended)
            for name, *args in steps:
                getattr(span, name)(*args)
            live = seen(span)
            span.end(9)
        finally:
            logger.removeHandler(warnings)
        outcomes.append((live, [seen(each) for each in ended.spans], warnings.said))
    assert outcomes[0] == outcomes[1]


def test_an_attribute_takes_no_lock():
    """Else the short way is not taken, and nothing is gained."""
    taken = []

    class Lock:
        def __enter__(self):
            taken.append(1)

        def __exit__(self, *_):
            pass

    span = started(_spans.LeanSpan)
    span._lock = span._attributes._lock = Lock()
    for value in ("text", 1, 1.5, True):
        span.set_attribute("key", value)
    assert taken == []
    span.set_attribute("other", None)
    assert taken
    assert dict(span.attributes) == {"key": True, "other": None}


def test_an_ended_span_is_given_as_it_is_and_refuses_changes():
    """No copy is made for the processors, and nothing that they read changes any more."""
    ended = Ended()
    span = started(_spans.LeanSpan, attributes={"a": 1}, processor=ended)
    span.end(5)
    assert ended.spans == [span]
    assert isinstance(span, ReadableSpan)
    before = seen(span)
    span.set_attribute("b", 2)
    span.set_attribute("a", 2)
    span.set_attributes({"c": 3})
    span.update_name("other")
    span.add_event("late")
    span.record_exception(ValueError())
    span.set_status(StatusCode.ERROR)
    span.end(7)
    assert (seen(span), len(ended.spans)) == (before, 1)


def test_threads_that_write_to_one_span_lose_nothing():
    """Each attribute is there, and a reader meanwhile is not disturbed."""
    span = started(_spans.LeanSpan)
    over = threading.Event()
    failed = []

    def write(number):
        for _ in range(300):
            for letter in range(10):
                span.set_attribute(f"{number}.{letter}", letter)

    def read():
        try:
            while not over.is_set():
                dict(span.attributes)
        except Exception as error:
            failed.append(error)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    reader.start()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    reader.join()
    expected = {f"{number}.{letter}": letter for number in range(4) for letter in range(10)}
    assert dict(span.attributes) == expected
    assert (failed, span.dropped_attributes) == ([], 0)


def test_a_class_that_someone_else_has_put_there_stays():
    """Whoever exchanged it before us has a reason."""

    class Theirs(OPENTELEMETRY):
        pass

    sdk._Span = Theirs
    _spans.make_spans_lean()
    assert sdk._Span is Theirs
    sdk._Span = OPENTELEMETRY
    _spans.make_spans_lean()
    _spans.make_spans_lean()
    assert sdk._Span is _spans.LeanSpan


def test_the_launcher_makes_the_spans_lean():
    """What nobody switches on costs as much as ever."""
    code = "from opentelemetry import trace; "
    code += "print(type(trace.get_tracer('t').start_span('name')).__name__)"
    assert printed(code).strip() == "LeanSpan"
