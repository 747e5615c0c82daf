"""One decision, as three parties take it; seeds are fixed, so that nothing here is left to chance.

With a random seed each comparison with `within()` would be a false alarm in 6 of 10^7 runs.
"""

from __future__ import annotations

import math
import random
import uuid

import pytest
import sentry_sdk
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from sentry_sdk.tracing import Transaction

from otel_sentry.propagation import SentryPropagator
from otel_sentry.sampling import SentrySampler
from otel_sentry.settings import Settings
from otel_sentry.trace_state import explicit_randomness, implicit_randomness, parse_ot

RATES = [0.001, 0.01, 0.1, 0.123456, 0.25, 1 / 3, 0.5, 0.9, 0.999]
NUMBER = 20_000
SETTINGS = Settings.from_env({"SENTRY_DSN": "https://key@o17.ingest.sentry.io/42"})


def traces(number=NUMBER, *, uuid4=False):
    generator = random.Random(20_261_122)
    for _ in range(number):
        bits = generator.getrandbits(128)
        yield uuid.UUID(int=bits, version=4).int if uuid4 else bits


def decide(sampler, trace):
    result = sampler.should_sample(None, trace, "GET", SpanKind.SERVER)
    return result.decision is Decision.RECORD_AND_SAMPLE, result.trace_state


def within(kept, rate, number=NUMBER):
    """Return whether a share lies within five standard deviations of the rate."""
    return abs(kept - number * rate) <= 5 * math.sqrt(number * rate * (1 - rate))


@pytest.mark.parametrize("uuid4", [False, True])
@pytest.mark.parametrize("rate", RATES)
def test_the_kept_share_is_the_rate(rate, uuid4):
    """Of traces with random ids, and of those with UUIDs, the share that is kept is the rate."""
    sampler = SentrySampler(rate)
    assert within(sum(decide(sampler, trace)[0] for trace in traces(uuid4=uuid4)), rate)


def test_the_control_fails():
    """OpenTelemetry's own sampler keeps none of the UUIDs at 0.5: the test above can fail."""
    sampler = TraceIdRatioBased(0.5)
    assert not within(sum(decide(sampler, trace)[0] for trace in traces(uuid4=True)), 0.5)


@pytest.mark.parametrize("rate", RATES)
def test_sentry_sdk_decides_the_same(rate):
    """sentry-sdk's own sampler, given the `sample_rand` that we publish, keeps the same traces."""
    with sentry_sdk.new_scope() as scope:
        scope.set_client(sentry_sdk.Client(traces_sample_rate=rate))
        for trace in traces(1000):
            sampled, state = decide(SentrySampler(rate), trace)
            theirs = Transaction(trace_id=f"{trace:032x}")
            theirs._sample_rand = float(state.sample_rand)
            theirs._set_initial_sampling_decision({"parent_sampled": None})
            assert theirs.sampled is sampled


def collector_threshold(percentage: float, precision: int) -> int:
    """
    Return T of the OpenTelemetry Collector's `probabilistic_sampler` in mode `proportional`.

    A statement of `ProbabilityToThresholdWithPrecision` in open-telemetry/opentelemetry-collector-
    contrib, pkg/sampling/probability.go, which processor/probabilisticsamplerprocessor calls; the
    default of `sampling_precision` is 4 hexadecimal digits, the most 14.
    """
    fraction, whole = percentage / 100, 1 << 56
    for part in (fraction, 1 - fraction):
        _, exponent = math.frexp(part)
        precision = min(14, max(precision, precision + int(exponent / -4)))
    found = whole - round(fraction * whole)
    shift = 4 * (14 - precision)
    if shift:
        found = (found + (1 << shift - 1)) >> shift << shift
    return found


def collector_keeps(trace: int, tracestate: str, rejection: int) -> bool:
    """Return `R >= T`; R is `rv` where there is one, else the last 56 bits of the trace id."""
    explicit = explicit_randomness(parse_ot(tracestate))
    return (implicit_randomness(trace) if explicit is None else explicit) >= rejection


@pytest.mark.parametrize("rate", RATES)
def test_the_collector_decides_the_same(rate):
    """A Collector with our rate keeps what we keep; its rounding to 4 digits moves few traces."""
    exact, rounded = (collector_threshold(rate * 100, digits) for digits in (14, 4))
    sampler = SentrySampler(rate)
    differ = 0
    for trace in traces():
        sampled, _ = decide(sampler, trace)
        if rate == round(rate, 6):
            assert collector_keeps(trace, "", exact) is sampled
        differ += collector_keeps(trace, "", rounded) is not sampled
    assert differ <= 5  # expected: at most 20,000 / 2^17 for each


def test_the_collector_follows_a_sentry_client():
    """Where Sentry's number came first, the `rv` that we publish lets a Collector decide alike."""
    propagator, sampler = SentryPropagator(SETTINGS), SentrySampler(0.25)
    rejection = collector_threshold(25, 14)
    for millionths, trace in zip(range(0, 1_000_000, 997), traces(2000), strict=False):
        hexadecimal = f"{trace:032x}"
        dsc = f"sentry-trace_id={hexadecimal},sentry-sample_rand=0.{millionths:06d}"
        headers = {"sentry-trace": f"{hexadecimal}-{1:016x}", "baggage": dsc}
        context = propagator.extract(headers, Context())
        result = sampler.should_sample(context, trace, "GET", SpanKind.SERVER)
        sampled = result.decision is Decision.RECORD_AND_SAMPLE
        assert sampled is (millionths < 250_000)
        assert collector_keeps(trace, result.trace_state.get("ot", ""), rejection) is sampled


# --- numbers that agree, on every header -------------------------------------------------------


class Ids(IdGenerator):
    """Known ids, of the kind that sentry-sdk makes."""

    def __init__(self) -> None:
        self._traces = traces(uuid4=True)

    def generate_span_id(self) -> int:
        return 1

    def generate_trace_id(self) -> int:
        return next(self._traces)


def context_of(header):
    pairs = (member.partition("=") for member in header.split(","))
    return {key.removeprefix("sentry-"): value for key, _, value in pairs}


@pytest.mark.parametrize("rate", [0.0, *RATES, 1.0])
@pytest.mark.parametrize(
    "make",
    [
        SentrySampler,
        TraceIdRatioBased,
        lambda rate: ParentBased(SentrySampler(rate)),
        lambda rate: ParentBased(TraceIdRatioBased(rate)),
    ],
    ids=["ours", "ratio", "ours in ParentBased", "ratio in ParentBased"],
)
def test_the_numbers_agree_on_every_header(monkeypatch, make, rate):
    """`sample_rand < sample_rate` exactly where sampled, whichever sampler of these decides."""
    sampler = make(rate)
    provider = TracerProvider(sampler=sampler, id_generator=Ids(), shutdown_on_exit=False)
    monkeypatch.setattr(
        "otel_sentry.propagation._probability.get_tracer_provider", lambda: provider
    )
    propagator = SentryPropagator(SETTINGS)
    for _ in range(300):
        span = provider.get_tracer("t").start_span("GET", Context(), SpanKind.SERVER)
        carrier: dict[str, str] = {}
        propagator.inject(carrier, set_span_in_context(span, Context()))
        sampled = span.get_span_context().trace_flags.sampled
        sent = context_of(carrier["baggage"])
        assert carrier["sentry-trace"].endswith("-1" if sampled else "-0")
        assert sent["sampled"] == ("true" if sampled else "false")
        assert float(sent["sample_rate"]) == round(rate, 6)
        assert (float(sent["sample_rand"]) < float(sent["sample_rate"])) is sampled


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("rate", [None, 0.0, *RATES, 1.0])
def test_a_missing_sample_rand_is_filled_in(rate, sampled):
    """An older SDK's trace gets the `sample_rand` that sentry-sdk fills in, wherever it goes."""
    propagator = SentryPropagator(SETTINGS)
    for trace in traces(200):
        hexadecimal = f"{trace:032x}"
        rate_entry = "" if rate is None else f",sentry-sample_rate={rate}"
        headers = {
            "sentry-trace": f"{hexadecimal}-{1:016x}-{int(sampled)}",
            "baggage": f"sentry-trace_id={hexadecimal}{rate_entry}",
        }
        span = get_current_span(propagator.extract(headers, Context())).get_span_context()
        ours = propagator.dynamic_sampling_context(span).get("sample_rand")
        native = sentry_sdk.tracing_utils.PropagationContext.from_incoming_data(headers)
        theirs = native.baggage.sentry_items.get("sample_rand")
        if rate == (0.0 if sampled else 1.0):
            assert ours is None, "no number agrees with such a decision"
            continue
        if rate is None or sampled or rate == round(rate, 6):
            assert ours == theirs
        if rate is not None:
            assert (float(ours) < rate) is sampled


@pytest.mark.parametrize("given", ["", "nan", "1", "1.0", "-0.1", "x"])
def test_a_bad_sample_rand_is_none(given):
    """What is no number below 1 is filled in like one that is missing."""
    trace = "a" * 32
    headers = {
        "sentry-trace": f"{trace}-{1:016x}-1",
        "baggage": f"sentry-trace_id={trace},sentry-sample_rate=0.5,sentry-sample_rand={given}",
    }
    propagator = SentryPropagator(SETTINGS)
    span = get_current_span(propagator.extract(headers, Context())).get_span_context()
    assert float(propagator.dynamic_sampling_context(span)["sample_rand"]) < 0.5


# --- a rate that others leave us to find -------------------------------------------------------


@pytest.mark.parametrize(
    ("description", "rate"),
    [
        ("AlwaysOnSampler", "1"),
        ("ParentBased{root:AlwaysOnSampler,remoteParentSampled:AlwaysOnSampler}", "1"),
        ("AlwaysOffSampler", None),  # it cannot have kept this trace
        ("TraceIdRatioBased{1.0}", "1"),
        ("TraceIdRatioBased{0.0}", None),
        ("SomebodyElses{0.5}", None),
        (None, None),
    ],
)
def test_a_foreign_sampler_tells_its_rate(monkeypatch, description, rate):
    """The rate is sent where the sampler in force tells it, and none where it does not."""

    class Sampler:
        def get_description(self):
            return description

    provider = type("Provider", (), {"sampler": Sampler()})()
    monkeypatch.setattr(
        "otel_sentry.propagation._probability.get_tracer_provider", lambda: provider
    )
    span = SpanContext(7, 1, is_remote=False, trace_flags=TraceFlags(1), trace_state=TraceState())
    sent = SentryPropagator(SETTINGS).dynamic_sampling_context(span)
    assert sent.get("sample_rate") == rate
    assert ("sample_rand" in sent) is (rate is not None)
    assert sent["sampled"] == "true"
    assert sent["public_key"] == "key"
    assert "transaction" not in sent


@pytest.mark.parametrize(
    ("tracestate", "flags", "rate"),
    [
        ("ot=th:8;rv:80000000000000", "01", "0.5"),
        ("ot=th:0", "01", "1"),
        ("ot=th:8;rv:80000000000000", "00", None),  # the two contradict each other
        ("ot=th:8;rv:00000000000000", "01", None),
        ("ot=th:xyz", "01", None),
        ("ot=th:ffffff;rv:ffffffffffffff", "01", None),  # sent as 0, which keeps nothing
        ("", "01", None),
    ],
)
def test_a_threshold_tells_the_rate(tracestate, flags, rate):
    """A trace of a service without Sentry gets the rate that its tracestate tells."""
    headers = {"traceparent": f"00-{'a' * 32}-{1:016x}-{flags}", "tracestate": tracestate}
    propagator = SentryPropagator(SETTINGS)
    span = get_current_span(propagator.extract(headers, Context())).get_span_context()
    assert propagator.dynamic_sampling_context(span).get("sample_rate") == rate


@pytest.mark.parametrize("flags", ["00", "01"])
@pytest.mark.parametrize(
    "sampler",
    [ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, TraceIdRatioBased(0.5), DEFAULT_OFF,
     ParentBased(TraceIdRatioBased(0.5))],
    ids=lambda sampler: sampler.get_description(),
)  # fmt: skip
def test_our_sampler_knows_no_rate_of_others_decisions(monkeypatch, sampler, flags):
    """Of a trace that another service decided about, the tracestate alone tells the rate."""
    provider = TracerProvider(sampler=sampler, id_generator=Ids(), shutdown_on_exit=False)
    monkeypatch.setattr(
        "otel_sentry.propagation._probability.get_tracer_provider", lambda: provider
    )
    propagator = SentryPropagator(SETTINGS)

    def sent(trace, **more):
        headers = {"traceparent": f"00-{trace:032x}-{1:016x}-{flags}", **more}
        context = propagator.extract(headers, Context())
        span = provider.get_tracer("t").start_span("GET", context, SpanKind.SERVER)
        carrier: dict[str, str] = {}
        propagator.inject(carrier, set_span_in_context(span, Context()))
        return carrier["sentry-trace"][-1], context_of(carrier["baggage"])

    for trace in traces(20):
        flag, context = sent(trace)
        assert {"sample_rate", "sample_rand"}.isdisjoint(context)
        assert context["sampled"] == ("true" if flag == "1" else "false")
    if flags == "01":
        _, context = sent(1, tracestate="ot=th:8;rv:80000000000000")
        assert context["sample_rate"] == "0.5"
        assert (context["sampled"], float(context["sample_rand"]) < 0.5) == ("true", True)
