from __future__ import annotations

import math
import random
import uuid
from importlib.metadata import entry_points

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_tracer,
    set_span_in_context,
)

from otel_sentry.propagation import SentryPropagator
from otel_sentry.sampling import SentrySampler, build_sampler, parse_rules, sentry_sampler
from otel_sentry.settings import Settings
from otel_sentry.trace_state import SentryTraceState, randomness_of, sample_rand_of

TRACE = 0xAAAAAAAAAAAAAAAAAA80000000000000  # randomness 2^55: in the middle
SAMPLE_RAND = "0.499999"
SECRET = "hunter2"
GET = {"http.request.method": "GET", "http.route": "/users/{id}", "url.path": "/users/7"}


def parent(state: TraceState, flags: int = 0, *, remote: bool = True, trace: int = TRACE):
    context = SpanContext(
        trace, 1, is_remote=remote, trace_flags=TraceFlags(flags), trace_state=state
    )
    return set_span_in_context(NonRecordingSpan(context))


def decide(sampler, context=None, kind=SpanKind.SERVER, attributes=GET, name="GET", trace=TRACE):
    result = sampler.should_sample(context, trace, name, kind, attributes)
    assert result.decision in {Decision.RECORD_AND_SAMPLE, Decision.DROP}
    return result.decision is Decision.RECORD_AND_SAMPLE, result.trace_state


# --- order of decisions ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(SpanKind))
@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize(
    ("state", "flags", "remote", "expected"),
    [
        (TraceState(), 1, False, True),
        (TraceState(), 0, False, False),
        (SentryTraceState(sampled=True), 1, False, True),
        (SentryTraceState(sampled=False), 0, False, False),
        (SentryTraceState(sampled=None), 0, False, False),  # below a CLIENT root
        (SentryTraceState(sampled=True), 1, True, True),
        (SentryTraceState(sampled=False), 0, True, False),
        (TraceState([("a", "1")]), 3, True, True),
        (TraceState(), 2, True, False),
    ],
)
def test_a_parent_decides(kind, rate, state, flags, remote, expected):
    """A local parent, and a remote one that decided, is followed, whatever rate and rules say."""
    sampler = SentrySampler(rate, parse_rules(f"*={1 - rate}"))
    sampled, passed_on = decide(sampler, parent(state, flags, remote=remote), kind)
    assert sampled is expected
    assert passed_on is state, "all spans of a trace share one state"


@pytest.mark.parametrize("kind", list(SpanKind))
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_an_undecided_remote_parent_leaves_it_to_us(kind, rate):
    """Where the remote parent left the decision open, ours is made and remembered."""
    incoming = SentryTraceState([("a", "1")], sampled=None, dynamic_sampling_context={})
    sampled, state = decide(SentrySampler(rate), parent(incoming), kind)
    assert sampled is bool(rate)
    assert state.sampled is sampled
    assert state.sample_rate == rate
    assert state.sample_rand == SAMPLE_RAND
    assert state.dynamic_sampling_context is None, "who decides makes it: none came"
    assert state.get("a") == "1"
    assert incoming.sampled is None


def test_a_client_span_starts_no_trace():
    """A CLIENT span without a parent is dropped and its trace stays undecided, unless asked for."""
    sampled, state = decide(SentrySampler(1.0, parse_rules("*=1")), kind=SpanKind.CLIENT)
    assert not sampled
    assert state.sampled is None
    assert state.sample_rand is None
    assert decide(SentrySampler(1.0, infrastructure_spans=True), kind=SpanKind.CLIENT)[0]


@pytest.mark.parametrize(
    ("scope", "kind", "child", "asked_for", "expected"),
    [
        ("opentelemetry.instrumentation.celery", SpanKind.PRODUCER, SpanKind.CLIENT, False, False),
        ("opentelemetry.instrumentation.celery", SpanKind.PRODUCER, SpanKind.CLIENT, True, True),
        ("opentelemetry.instrumentation.celery", SpanKind.PRODUCER, SpanKind.INTERNAL, False, True),
        ("opentelemetry.instrumentation.celery", SpanKind.CONSUMER, SpanKind.CLIENT, False, True),
        ("app", SpanKind.PRODUCER, SpanKind.CLIENT, False, True),
    ],
)
def test_celery_talks_to_its_broker(scope, kind, child, asked_for, expected):
    """What Celery says to its broker while it publishes is dropped; the publishing is not."""
    sampler = SentrySampler(1.0, infrastructure_spans=asked_for)
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer(scope)
    publishing = tracer.start_span("apply_async/a", kind=kind)
    assert publishing.get_span_context().trace_flags.sampled
    sampled, state = decide(sampler, set_span_in_context(publishing), child)
    assert sampled is expected
    assert state is publishing.get_span_context().trace_state


@pytest.mark.parametrize(
    "kind", [kind for kind in SpanKind if kind is not SpanKind.CLIENT] + [None]
)
@pytest.mark.parametrize(
    ("rate", "expected"), [(0.0, False), (0.499999, False), (0.5, True), (1, True)]
)
def test_the_rate_decides_about_a_root(kind, rate, expected):
    """A root is kept when its trace id's randomness reaches the rate's threshold."""
    sampled, state = decide(SentrySampler(rate), kind=kind)
    assert sampled is expected
    assert (state.sampled, state.sample_rate, state.sample_rand) == (expected, rate, SAMPLE_RAND)


def test_a_decision_through_the_sdk():
    """Under OpenTelemetry's SDK children follow their root, and the attributes reach the span."""
    provider = TracerProvider(sampler=SentrySampler(1.0), shutdown_on_exit=False)
    tracer = get_tracer("test", tracer_provider=provider)
    with tracer.start_as_current_span("root", attributes={"a": 1}) as root:
        child = tracer.start_span("child", kind=SpanKind.CLIENT)
    assert root.attributes == {"a": 1}
    assert child.is_recording()
    assert child.get_span_context().trace_state is root.get_span_context().trace_state
    assert provider.sampler.get_description() == "SentrySampler{rate=1.0,rules=0}"


# --- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("GET /users/{id}=0", 0.0),
        ("GET /users/7=0", 0.0),
        ("GET /users/*=0; GET /users/7=1", 0.0),
        ("POST *=0;;  GET /users/?=0.25 ;", 0.25),
        ("* /users/*=1e-1", 0.1),
        ("GET /users=0", 0.5),
        ("ET /users/7=0", 0.5),
        ("get /users/7=0", 0.5),
        ("", 0.5),
    ],
)
def test_rules(rules, expected):
    """The first rule that matches the whole route or path gives the rate, else the general one."""
    _, state = decide(SentrySampler(0.5, parse_rules(rules)))
    assert state.sample_rate == expected


def test_rules_for_celery():
    """A rule matches a task by its name, alone or after the word celery."""
    sampler = SentrySampler(0.5, parse_rules("celery sync_*=0; mail.send=1"))
    for name, rate in (("run/sync_users", 0.0), ("run/mail.send", 1.0), ("run/other", 0.5)):
        _, state = decide(sampler, kind=SpanKind.CONSUMER, attributes={}, name=name)
        assert state.sample_rate == rate


@pytest.mark.parametrize(
    "part", ["GET /a", "GET /a=", "=0.5", " =1", "GET /a=2", "a=-1", "a=nan", "a=x"]
)
def test_a_bad_rule_warns_once(part, caplog):
    """A part that is no rule is left out with one warning that shows it and how to write it."""
    for _ in range(3):
        [rule] = parse_rules(f"{part};GET /b=1")
        assert rule.rate == 1.0
    [record] = caplog.records
    sentence = record.getMessage()
    assert f"the rule {part.strip()!r} is ignored" in sentence
    assert "OTEL_SENTRY_SAMPLING_RULES" in sentence
    assert "GET /path=0.5" in sentence


@given(st.text() | st.text("*?[]!-az=;01. "))
def test_any_rules(text):
    """Any text is read as rules, and whatever comes out can be compared."""
    for rule in parse_rules(text):
        assert 0 <= rule.rate <= 1
        rule.pattern.match("GET /a")


# --- one decision for two worlds ---------------------------------------------------------------


@given(st.integers(1, 2**128 - 1), st.integers(0, 1_000_000))
def test_sentry_decides_the_same(trace, millionths):
    """`sample_rand < sample_rate` as sent to Sentry holds exactly for what is kept."""
    sampled, state = decide(SentrySampler(millionths / 1_000_000), trace=trace)
    sent = SentryPropagator(Settings.from_env({})).dynamic_sampling_context(
        SpanContext(trace, 1, is_remote=False, trace_state=state)
    )
    assert sampled is (float(sent["sample_rand"]) < float(sent["sample_rate"]))
    assert sent["sampled"] == ("true" if sampled else "false")


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_unbiased_for_uuid4(rate):
    """Of traces with UUID4 ids the share that is kept is the rate."""
    # Fixed seed: deterministic. For a random one: beyond 5 standard deviations in 6 of 10^7 runs.
    generator = random.Random(20_261_121)
    sampler = SentrySampler(rate)
    number = 20_000
    ids = (uuid.UUID(int=generator.getrandbits(128), version=4).int for _ in range(number))
    kept = sum(decide(sampler, trace=trace)[0] for trace in ids)
    assert abs(kept - number * rate) < 5 * math.sqrt(number * rate * (1 - rate))


@given(st.integers(1, 2**128 - 1), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_rate_keeps_what_a_lower_one_keeps(trace, one, other):
    """Services with different rates keep consistent sets of traces."""
    low, high = sorted((one, other))
    assert decide(SentrySampler(low), trace=trace)[0] <= decide(SentrySampler(high), trace=trace)[0]


# --- tracestate --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "header", "context", "expected"),
    [
        (0.5, "", {}, "ot=th:8"),
        (0.25, "", {}, ""),
        (1.0, "a=1,b=2", {}, "ot=th:0,a=1,b=2"),
        (0.25, "a=1,b=2", {}, "a=1,b=2"),
        # another service's threshold goes, its randomness decides
        (0.25, "a=1,ot=th:c;rv:c0000000000000;x:y", {}, "ot=th:c;rv:c0000000000000;x:y,a=1"),
        (0.5, "ot=th:0;rv:00000000000001", {}, "ot=rv:00000000000001"),
        # malformed randomness is none
        (0.5, "ot=rv:FFFFFFFFFFFFFF", {}, "ot=th:8"),
        (0.5, "ot=rv:-0000000000001", {}, "ot=th:8"),
        # Sentry's number becomes OpenTelemetry's
        (0.5, "", {"sample_rand": "0.250000"}, "ot=th:8;rv:bfffffffffffff"),
        (0.5, "a=1", {"sample_rand": "0.750000"}, "ot=rv:3fffffffffffff,a=1"),
        (0.5, "ot=rv:00000000000000", {"sample_rand": "0.25"}, "ot=rv:00000000000000"),
        (0.5, "", {"sample_rand": "nonsense"}, "ot=th:8"),
    ],
)
def test_tracestate(rate, header, context, expected):
    """The decision is written as the specification has it; other vendors' entries are kept."""
    incoming = SentryTraceState(
        list(TraceState.from_header([header]).items()),
        sampled=None,
        dynamic_sampling_context=context,
    )
    sampled, state = decide(SentrySampler(rate), parent(incoming))
    assert state.to_header() == expected
    assert ("th:" in expected) is sampled
    passed_on = {**(state.dynamic_sampling_context or {})}
    decided = {key: passed_on.pop(key, None) for key in ("sampled", "sample_rate", "sample_rand")}
    assert passed_on == {key: it for key, it in context.items() if key != "sample_rand"}
    assert incoming.dynamic_sampling_context is context
    if context:
        assert decided["sampled"] == ("true" if sampled else "false")
        assert decided["sample_rate"] == f"{rate:g}"
        assert (float(decided["sample_rand"]) < rate) is sampled
    if context.get("sample_rand", "").startswith("0.") and "ot" not in header:
        assert float(state.sample_rand) == float(context["sample_rand"])
        assert sample_rand_of(randomness_of(state.sample_rand)) == state.sample_rand


def test_a_full_tracestate_keeps_its_limit(caplog):
    """With 32 entries of others the last one makes room for ours, without a warning."""
    header = ",".join(f"v{number}=x" for number in range(32))
    incoming = SentryTraceState(list(TraceState.from_header([header]).items()), sampled=None)
    _, state = decide(SentrySampler(1.0), parent(incoming))
    assert state.to_header() == "ot=th:0," + header.rpartition(",")[0]
    assert caplog.records == []


def test_undecided_traces_share_nothing():
    """Two undecided traces never share a dynamic sampling context, nor do two decided ones."""
    propagator = SentryPropagator(Settings.from_env({}))
    seen = []
    for kind in (SpanKind.CLIENT, SpanKind.SERVER):
        for trace in (1, 2):
            _, state = decide(SentrySampler(0.5), kind=kind, trace=trace)
            context = SpanContext(trace, 1, is_remote=False, trace_state=state)
            seen.append(propagator.dynamic_sampling_context(context))
    assert [context["trace_id"] for context in seen] == [f"{trace:032x}" for trace in (1, 2, 1, 2)]
    assert len({id(context) for context in seen}) == 4


@pytest.mark.parametrize(
    ("attributes", "name", "transaction"),
    [
        (GET, "GET", "GET /users/{id}"),
        ({"http.method": "GET", "http.target": "/users/7?x=1"}, "GET", None),
        ({"http.method": "GET", "url.full": "http://[bad"}, "GET", None),
        ({}, "job", "job"),
    ],
)
def test_only_a_good_name_is_remembered(attributes, name, transaction):
    """The name goes into the sampling context unless it is a raw path."""
    _, state = decide(SentrySampler(0.5), attributes=attributes, name=name)
    assert state.name_transaction() == transaction


anything = st.text() | st.integers() | st.booleans() | st.lists(st.text(), max_size=2)
keys = ["http.method", "http.target", "http.route", "url.full", "http.url", "url.path", "sentry.op",
        "sentry.name", "sentry.source", "db.system", "db.statement", "messaging.system",
        "messaging.operation", "celery.task_name", "celery.action", "url.scheme"]  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(keys), anything),
    st.text(),
    st.sampled_from(list(SpanKind)),
    st.text(),
)
def test_no_span_makes_the_sampler_raise(attributes, name, kind, rules):
    """Whatever an application writes into a span, the sampler answers."""
    sampler = SentrySampler(0.5, (*parse_rules(rules), *parse_rules("GET *=1")))
    undecided = SentryTraceState(sampled=None)
    decide(sampler, parent(undecided), kind, attributes, name)


def test_a_fault_while_naming_is_reported(caplog):
    """Where a span cannot be understood the rate decides and one sentence says so."""

    class Broken(dict):
        def get(self, *_):
            raise RuntimeError(SECRET)

    sampled, state = decide(SentrySampler(1.0), attributes=Broken(a=1), name="odd")
    assert sampled
    assert state.name_transaction() is None
    assert "reading a span's attributes" in caplog.text
    assert SECRET not in caplog.text


# --- the factory -------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["opentelemetry_traces_sampler", "opentelemetry_sampler"])
def test_the_factory_is_registered(group):
    """OpenTelemetry finds the sampler in both of its entry point groups."""
    [entry_point] = entry_points(group=group, name="sentry")
    assert entry_point.load() is sentry_sampler


@pytest.mark.parametrize(
    ("argument", "environ", "rate", "warned"),
    [
        (None, {}, 0.1, ""),
        ("", {"SENTRY_TRACES_SAMPLE_RATE": "0.3"}, 0.3, ""),
        (" 0.7 ", {"SENTRY_TRACES_SAMPLE_RATE": "0.3"}, 0.7, ""),
        ("abc", {"SENTRY_TRACES_SAMPLE_RATE": "0.3"}, 0.3, "OTEL_TRACES_SAMPLER_ARG=abc"),
        ("7", {}, 0.1, "OTEL_TRACES_SAMPLER_ARG=7"),
        (None, {"SENTRY_TRACES_SAMPLE_RATE": "7"}, 0.1, "SENTRY_TRACES_SAMPLE_RATE=7"),
    ],
)
def test_the_factory(argument, environ, rate, warned, monkeypatch, caplog):
    """The argument wins over SENTRY_TRACES_SAMPLE_RATE; a bad one is named and left out."""
    monkeypatch.delenv("SENTRY_TRACES_SAMPLE_RATE", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_SENTRY_SAMPLING_RULES", "GET /a=1")
    sampler = sentry_sampler(argument)
    assert sampler.get_description() == f"SentrySampler{{rate={rate},rules=1}}"
    assert [record.getMessage().startswith(warned) for record in caplog.records] == [True] * bool(
        warned
    )


@given(st.text())
def test_the_factory_never_raises(argument):
    """OpenTelemetry would sample everything if the factory raised, so it never does."""
    assert isinstance(sentry_sampler(argument), SentrySampler)


def test_build_sampler():
    """Rate, rules and plumbing come from the settings."""
    sampler = build_sampler(
        Settings.from_env(
            {
                "SENTRY_TRACES_SAMPLE_RATE": "1",
                "OTEL_SENTRY_SAMPLING_RULES": "GET *=0",
                "OTEL_SENTRY_INFRASTRUCTURE_SPANS": "true",
            }
        )
    )
    assert not decide(sampler)[0]
    assert decide(sampler, kind=SpanKind.CLIENT, attributes={})[0]


@pytest.mark.parametrize("keep", [False, True])
def test_plumbing_is_left_out_unless_asked_for(keep):
    """What Celery says to its broker is no span; a variable brings it back."""
    sampler = build_sampler(
        Settings.from_env(
            {
                "SENTRY_TRACES_SAMPLE_RATE": "1",
                "OTEL_SENTRY_INFRASTRUCTURE_SPANS": str(keep),
            }
        )
    )
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    celery = provider.get_tracer("opentelemetry.instrumentation.celery")
    redis = provider.get_tracer("opentelemetry.instrumentation.redis")

    alone = redis.start_span("BRPOP", kind=SpanKind.CLIENT)
    with celery.start_as_current_span("apply_async/job", kind=SpanKind.PRODUCER):
        below = redis.start_span("LPUSH", kind=SpanKind.CLIENT)
    with redis.start_as_current_span("request", kind=SpanKind.SERVER):
        ordinary = redis.start_span("GET", kind=SpanKind.CLIENT)

    assert (alone.is_recording(), below.is_recording()) == (keep, keep)
    assert ordinary.is_recording()
