from __future__ import annotations

from decimal import Decimal

import pytest
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)

from otel_sentry.options import Options
from otel_sentry.sampling import SentrySampler, parse_rules
from otel_sentry.sampling.callback import asgi_scope
from otel_sentry.trace_state import SentryTraceState

TRACE = 0xAAAAAAAAAAAAAAAAAA80000000000000  # randomness 2^55: in the middle
GET = {"http.request.method": "GET", "http.route": "/users/{id}", "url.path": "/users/7"}
PARENT_RATE = {"sample_rate": "0.3"}


def decide(callback, *, rules="", kind=SpanKind.SERVER, attributes=GET, name="GET", context=None):
    options = Options(traces_sampler=callback)
    sampler = SentrySampler(0.5, parse_rules(rules), options=options)
    result = sampler.should_sample(context, TRACE, name, kind, attributes)
    return result.decision is Decision.RECORD_AND_SAMPLE, result.trace_state


def remote(sampled, **more):
    state = SentryTraceState(sampled=sampled, **more)
    flags = TraceFlags(bool(sampled))
    span = SpanContext(TRACE, 1, is_remote=True, trace_flags=flags, trace_state=state)
    return set_span_in_context(NonRecordingSpan(span))


@pytest.mark.parametrize(
    ("answer", "rate"),
    [
        (0.25, 0.25),
        (1, 1.0),
        (0, 0.0),
        (True, 1.0),
        (False, 0.0),
        (Decimal("0.75"), 0.75),
        (None, 0.5),
    ],
)
def test_the_answer_is_the_rate(answer, rate, caplog):
    """A number, True or False is the rate that decides and is sent; None leaves it to the base."""
    sampled, state = decide(lambda _: answer)
    assert state.sample_rate == rate
    assert sampled is (rate >= 0.5)
    assert not caplog.records


@pytest.mark.parametrize(
    "answer", [float("nan"), float("inf"), -0.1, 1.1, "0.5", b"1", [], object(), 1j, 10**400]
)
def test_nonsense_warns_once(answer, caplog):
    """What is no rate warns once, and rules and base rate apply."""
    for _ in range(3):
        _, state = decide(lambda _: answer, rules="GET /users/*=0.75")
        assert state.sample_rate == 0.75
    [record] = caplog.records
    assert "traces_sampler returned something else than a rate" in record.getMessage()
    assert "between 0 and 1" in record.getMessage()


def test_raising_warns_once(caplog):
    """A callback that raises warns once, without what it said, and the base rate applies."""
    for _ in range(3):
        _, state = decide(lambda _: {}["hunter2"])
        assert state.sample_rate == 0.5
    [record] = caplog.records
    assert "traces_sampler raised KeyError" in record.getMessage()
    assert "hunter2" not in caplog.text


def test_what_the_callback_sees():
    """It sees what sentry-sdk's own tracing would show it, and the span's kind and attributes."""
    seen = []
    scope = {"type": "http", "path": "/users/7"}
    token = asgi_scope.set(scope)
    try:
        decide(seen.append)
    finally:
        asgi_scope.reset(token)
    assert seen == [
        {
            "transaction_context": {
                "name": "GET /users/{id}",
                "op": "http.server",
                "source": "route",
            },
            "parent_sampled": None,
            "parent_sample_rate": None,
            "attributes": GET,
            "kind": "server",
            "asgi_scope": scope,
        }
    ]
    assert seen[0]["attributes"] is not GET, "it cannot change the span"


@pytest.mark.parametrize("kind", [SpanKind.INTERNAL, SpanKind.CONSUMER, None])
def test_only_a_request_has_an_asgi_scope(kind):
    """What starts a trace inside a request, and is none, is not described by it."""
    seen = []
    token = asgi_scope.set({"type": "http"})
    try:
        decide(seen.append, kind=kind, attributes=None, name="job")
    finally:
        asgi_scope.reset(token)
    assert "asgi_scope" not in seen[0]
    assert "celery_job" not in seen[0]
    assert seen[0]["transaction_context"]["name"] == "job"


def test_a_task_is_described():
    """In a Celery task the callback sees its name and arguments."""
    from celery import Celery

    app = Celery("app", broker="memory://", set_as_current=False)
    seen = []

    @app.task(name="mail.send")
    def send(*_args, **_kwargs):
        decide(seen.append, kind=SpanKind.CONSUMER, attributes=None, name="run/mail.send")

    send.apply(args=(1, "b"), kwargs={"c": 2}).get()
    assert seen[0]["celery_job"] == {"task": "mail.send", "args": [1, "b"], "kwargs": {"c": 2}}
    assert seen[0]["transaction_context"]["op"] == "queue.process"


@pytest.mark.parametrize(("sampled", "expected"), [(True, True), (False, False)])
def test_a_parent_that_decided_is_followed(sampled, expected):
    """One decision for a trace: the callback is not asked where a parent decided."""
    asked = []
    assert decide(asked.append, context=remote(sampled))[0] is expected
    assert asked == []


def test_a_parent_that_left_it_open_is_described():
    """Where the parent left it open, its rate is shown; the context then tells our own."""
    seen = []

    def callback(context):
        seen.append(context)
        return 0.75

    context = remote(None, dynamic_sampling_context=PARENT_RATE)
    _, state = decide(callback, context=context)
    assert seen[0]["parent_sampled"] is None
    assert seen[0]["parent_sample_rate"] == 0.3
    assert state.dynamic_sampling_context["sample_rate"] == "0.75"


def test_the_callback_may_come_later():
    """It is read at each decision: `otel_sentry.init()` may come after the launcher."""
    options = Options()
    sampler = SentrySampler(1.0, options=options)
    assert sampler.should_sample(None, TRACE, "a").decision is Decision.RECORD_AND_SAMPLE
    options.traces_sampler = lambda _: 0
    assert sampler.should_sample(None, TRACE, "a").decision is Decision.DROP


# --- probes and preflights ---------------------------------------------------------------------


@pytest.mark.parametrize("key", ["http.request.method", "http.method"])
@pytest.mark.parametrize(
    ("method", "rules", "rate"),
    [
        ("HEAD", "", 0.0),
        ("OPTIONS", "", 0.0),
        ("GET", "", 0.5),
        ("HEAD", "HEAD *=0.75", 0.75),
        ("OPTIONS", "HEAD *=0.75", 0.0),
        ("OPTIONS", "OPTIONS /other=1; * /users/*=0.25", 0.25),
        (["HEAD"], "", 0.5),
    ],
)
def test_head_and_options(method, rules, rate, key):
    """HEAD and OPTIONS requests start no trace unless a rule names a rate."""
    attributes = {**GET, key: method}
    if key == "http.method":
        del attributes["http.request.method"]
    _, state = decide(None, rules=rules, attributes=attributes)
    assert state.sample_rate == rate


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_a_sampled_caller_is_followed_by_any_method(method):
    """A HEAD request of a sampled trace is part of it; one that is left open is decided here."""
    attributes = {**GET, "http.request.method": method}
    assert decide(None, attributes=attributes, context=remote(True))[0]
    assert not decide(lambda _: None, attributes=attributes, context=remote(None))[0]
    assert decide(lambda _: 1, attributes=attributes)[0]


def test_only_requests_that_arrive_have_a_method():
    """A span of another kind with that attribute is decided by the rate."""
    _, state = decide(None, kind=SpanKind.INTERNAL, attributes={"http.method": "HEAD"})
    assert state.sample_rate == 0.5


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_bad_rate_warns_once(rate, caplog):
    """A sampler made with a rate that is none warns once, and 0.1 applies."""
    for _ in range(2):
        assert SentrySampler(rate).get_description() == "SentrySampler{rate=0.1,rules=0}"
    [record] = caplog.records
    assert str(rate) in record.getMessage()
