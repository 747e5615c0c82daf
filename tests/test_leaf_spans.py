"""Queries that no backend would show: no spans are made for them, and nothing else changes."""

from __future__ import annotations

import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, Sampler
from opentelemetry.sdk.trace.sampling import SamplingResult as Result
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from otel_sentry.errors.origin import failed_span
from otel_sentry.instrumentation import _leaf
from tests.faults.driver import printed


class RecordOnly(Sampler):
    """Record, and do not sample: what keeping failed traces asks for."""

    def should_sample(self, context, trace_id, name, kind=None, attributes=None, *_):
        """Return always the same."""
        return Result(Decision.RECORD_ONLY, attributes)

    def get_description(self):
        """Return the name."""
        return "RecordOnly"


class Asked(Sampler):
    """Count the decisions of another sampler."""

    def __init__(self, sampler):
        self.sampler, self.times = sampler, 0

    def should_sample(self, *args, **kwargs):
        """Ask the other one."""
        self.times += 1
        return self.sampler.should_sample(*args, **kwargs)

    def get_description(self):
        """Return the name."""
        return "Asked"


class Raising(Sampler):
    """Decide nothing."""

    def should_sample(self, *args, **kwargs):
        """Raise."""
        raise ValueError

    def get_description(self):
        """Return the name."""
        return "Raising"


@pytest.fixture
def tracers(monkeypatch):
    """Return what makes: a sampler that counts, its provider's tracer, and the leaves' tracer."""

    def make(sampler, *plumbing):
        asked = Asked(sampler)
        provider = TracerProvider(sampler=asked)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        leaves = _leaf.LeafTracerProvider(plumbing).get_tracer("redis")
        return asked, provider.get_tracer("t"), leaves

    return make


def test_a_parent_that_is_sampled_out_stands_for_its_leaves(tracers):
    """No span is made, nobody is asked, and the parent stays current, and open."""
    asked, tracer, leaves = tracers(ALWAYS_OFF)
    with tracer.start_as_current_span("GET /"):
        parent = trace.get_current_span()
        with leaves.start_as_current_span("GET", kind=SpanKind.CLIENT) as leaf:
            assert leaf is parent is trace.get_current_span()
        assert leaves.start_span("SELECT", kind=SpanKind.CLIENT) is parent
        in_a_context = trace.set_span_in_context(parent)
        assert leaves.start_span("SELECT", in_a_context) is parent
        assert trace.get_current_span() is parent
    assert asked.times == 1


@pytest.mark.parametrize("sampler", [ALWAYS_ON, RecordOnly()], ids=["sampled", "recorded"])
def test_a_parent_that_is_recorded_has_its_leaves(tracers, sampler):
    """Where the parent is recorded each leaf is a span of its own, below it."""
    asked, tracer, leaves = tracers(sampler)
    with tracer.start_as_current_span("GET /") as parent:
        with leaves.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes={"a": 1}) as leaf:
            assert leaf.parent == parent.get_span_context()
            assert (leaf.name, leaf.kind, dict(leaf.attributes)) == (
                "GET",
                SpanKind.CLIENT,
                {"a": 1},
            )
        other = leaves.start_span("SELECT", kind=SpanKind.CLIENT)
        assert other.parent == parent.get_span_context()
        other.end()
    assert asked.times == 3


def test_without_a_parent_here_the_sampler_decides(tracers):
    """A leaf that is a root, or whose parent is in another process, is the sampler's affair."""
    asked, _, leaves = tracers(ALWAYS_OFF)
    leaves.start_span("GET")
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0))
    with trace.use_span(NonRecordingSpan(remote)):
        leaves.start_span("GET")
        with leaves.start_as_current_span("GET"):
            pass
    assert asked.times == 3


class UnspeakableError(Exception):
    """One that cannot be told."""

    def __str__(self):
        raise ValueError


def raise_(error):
    """Raise it."""
    raise error


def raised_in(tracer, error, **kwargs):
    """Return the span in which an error was raised, and what came out of it."""
    came = None
    try:
        with tracer.start_as_current_span("GET", **kwargs) as span:
            raise_(error)
    except BaseException as caught:
        came = caught
    return span, came


@pytest.mark.parametrize("error", [KeyError("key"), KeyboardInterrupt(), GeneratorExit()], ids=repr)
@pytest.mark.parametrize(
    "kwargs", [{}, {"record_exception": False}, {"set_status_on_exception": False}], ids=str
)
def test_an_error_in_a_leaf_is_recorded_as_opentelemetry_does(tracers, error, kwargs):
    """The same events and status, the error itself comes out, the span is over and not current."""
    _, tracer, leaves = tracers(ALWAYS_ON)
    said = []
    for each in (tracer, leaves):
        span, came = raised_in(each, error, **kwargs)
        assert came is error
        assert span.end_time is not None
        assert trace.get_current_span() is trace.INVALID_SPAN
        types = [event.attributes["exception.type"] for event in span.events]
        said.append((types, span.status.status_code, span.status.description))
    assert said[0] == said[1]


def test_an_error_that_cannot_be_told_comes_out_all_the_same(tracers, monkeypatch):
    """The application gets its own error, not the one of telling it; the span ends."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    _, _, leaves = tracers(ALWAYS_ON)
    error = UnspeakableError()
    span, came = raised_in(leaves, error)
    assert came is error
    assert span.end_time is not None


def test_a_leaf_that_does_not_end_with_its_block_stays_open(tracers):
    """What the short way cannot do is OpenTelemetry's."""
    _, _, leaves = tracers(ALWAYS_ON)
    with leaves.start_as_current_span("GET", end_on_exit=False) as span:
        assert trace.get_current_span() is span
    assert span.end_time is None
    span.end()


def test_plumbing_that_goes_well_is_no_span(tracers):
    """What is inside of it has the span around it for a parent."""
    asked, tracer, leaves = tracers(ALWAYS_ON, "connect")
    with tracer.start_as_current_span("GET /") as parent:
        with leaves.start_as_current_span("connect", kind=SpanKind.CLIENT) as span:
            assert span.is_recording()
            span.set_attributes({"db.system": "sqlite"})
            assert trace.get_current_span() is parent
        assert not span.get_span_context().is_valid
        with leaves.start_as_current_span("SELECT") as other:
            assert other.parent == parent.get_span_context()
    assert asked.times == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_plumbing_that_is_stopped_is_no_span(tracers, error):
    """What is no error of the application would be left out, too."""
    asked, _, leaves = tracers(ALWAYS_ON, "GET")
    _, came = raised_in(leaves, error)
    assert came is error
    assert asked.times == 0


def test_plumbing_that_fails_is_a_span(tracers):
    """It has lasted as long, says what was said, and is the span that the error has failed."""
    _, tracer, leaves = tracers(ALWAYS_ON, "connect")
    error, kind, span, inside = TimeoutError("pool"), SpanKind.CLIENT, None, 0

    def connect():
        nonlocal span, inside
        with leaves.start_as_current_span("connect", kind=kind, attributes={"a": 1}) as span:
            span.set_attributes({"db.system": "sqlite"})
            span.set_attribute("db.name", "shop")
            inside = time.time_ns()
            raise_(error)

    with tracer.start_as_current_span("GET /") as parent:
        before = time.time_ns()
        with pytest.raises(TimeoutError):
            connect()
        assert trace.get_current_span() is parent
    assert (span.name, span.kind, span.parent) == ("connect", kind, parent.get_span_context())
    assert dict(span.attributes) == {"a": 1, "db.system": "sqlite", "db.name": "shop"}
    assert before <= span.start_time <= inside <= span.end_time
    assert [event.name for event in span.events] == ["exception"]
    assert span.status.description == "TimeoutError: pool"
    assert failed_span(error) == span.get_span_context()  # found by the local variable's name
    assert failed_span(error).is_valid


def test_plumbing_below_what_is_sampled_out_is_that(tracers):
    """Its parent stands for it, whether it fails or not."""
    asked, tracer, leaves = tracers(ALWAYS_OFF, "GET")
    error = TimeoutError()
    with tracer.start_as_current_span("GET /") as parent:
        assert raised_in(leaves, error) == (parent, error)
    assert asked.times == 1


def test_a_tracer_that_fails_leaves_the_error_as_it_is(tracers, monkeypatch):
    """The application gets its own error."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    _, _, leaves = tracers(Raising(), "GET")
    error = TimeoutError()
    _, came = raised_in(leaves, error)
    assert came is error


ENGINE = """
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from sqlalchemy import create_engine, text
seen = []
class Seen(SpanProcessor):
    def on_end(self, span):
        seen.append(span.name.split()[0])
trace.get_tracer_provider().add_span_processor(Seen())
engine = create_engine("sqlite://")
with trace.get_tracer("shop").start_as_current_span("work"):
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
print(*seen)
"""


@pytest.mark.parametrize(
    ("infrastructure", "names"), [("false", "SELECT work"), ("true", "connect SELECT work")]
)
def test_a_checkout_from_the_pool_is_a_span_where_plumbing_is_recorded(infrastructure, names):
    """``OTEL_SENTRY_INFRASTRUCTURE_SPANS`` asks for it."""
    given = {"OTEL_SENTRY_INFRASTRUCTURE_SPANS": infrastructure}
    assert printed(ENGINE, **given).split() == names.split()
