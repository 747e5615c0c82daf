from __future__ import annotations

import random

import pytest
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind

from otel_sentry.cli.tail.receiver import Receiver
from otel_sentry.sampling import SentrySampler
from otel_sentry.trace_state import parse_ot
from tests.collector.otlp import Sent, encode, post
from tests.collector.running import (
    SAMPLER,
    SIDECAR,
    TRACE_STATE,
    run_collector,
    settings,
    wait_until,
)

HEAD = 0.25
TAIL = 0.10
TRACES = 8000


def decide(rate: float, trace_id: int) -> str | None:
    """Return the trace state of a trace that our sampler keeps, else None."""
    result = SentrySampler(rate).should_sample(None, trace_id, "GET /", SpanKind.SERVER)
    if result.decision is Decision.DROP:
        return None
    return result.trace_state.to_header()


def share_of(th: str) -> float:
    return 1 - int(th.ljust(14, "0"), 16) / (1 << 56)


def random_ids(number: int, seed: int) -> list[int]:
    source = random.Random(seed)
    return [source.getrandbits(128) or 1 for _ in range(number)]


def arrived(receiver: Receiver) -> dict[int, list[dict]]:
    traces: dict[int, list[dict]] = {}
    for span in receiver.spans():
        traces.setdefault(int(span["trace_id"], 16), []).append(span)
    return traces


@pytest.mark.parametrize("rate", [0.25, 0.1, 0.012345])
def test_collector_and_sdk_keep_the_same_traces(tmp_path, rate):
    """
    ``probabilistic_sampler`` in ``proportional`` mode keeps exactly what our sampler keeps at the
    same rate, and writes the same ``th``, by the trace id and by an explicit ``rv``.
    """
    ids = random_ids(3000, seed=5)
    explicit = {trace: f"ot=rv:{random.Random(trace).getrandbits(56):014x}" for trace in ids[::3]}
    expected = {}
    for trace in ids:
        by = int(explicit[trace][-14:], 16) if trace in explicit else trace
        if (state := decide(rate, by)) is not None:
            expected[trace] = parse_ot(state.removeprefix("ot="))["th"]
    with (
        Receiver() as sentry,
        run_collector(
            tmp_path,
            *SIDECAR,
            "share.yaml",
            environment=settings(sentry, tmp_path / "s", SAMPLING_PERCENTAGE=f"{rate * 100}"),
        ) as sidecar,
    ):
        spans = [
            Sent(trace, n + 1, trace_state=explicit.get(trace, "")) for n, trace in enumerate(ids)
        ]
        assert post(sidecar.url, encode(spans)) == 200
        sentry.wait_for(lambda seen: len(seen.spans()) >= len(expected), 20, "kept spans")
    kept = arrived(sentry)
    assert set(kept) == set(expected)
    for trace, (span,) in kept.items():
        th = parse_ot(span["trace_state"].removeprefix("ot="))["th"]
        # The Collector reads percentages into 32 bits: the thresholds differ by 1e-8 of all traces.
        assert abs(share_of(th) - share_of(expected[trace])) < 1e-8


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """Send head-sampled traces, span by span, through a balancer to two samplers."""
    directory = tmp_path_factory.mktemp("gateway")
    source = random.Random(7)
    sent: dict[int, list[Sent]] = {}
    for number, trace in enumerate(random_ids(TRACES, seed=6)):
        state = decide(HEAD, trace)
        if state is None:
            continue
        failed, slow = source.random() < 0.05, source.random() < 0.05
        root = 3 * number + 1
        sent[trace] = [
            Sent(trace, root, 0, "GET /", state, 3000 if slow else 5),
            Sent(trace, root + 1, root, "child", state, failed=failed),
            Sent(trace, root + 2, root + 1, "grandchild", state),
        ]
    with Receiver() as one, Receiver() as two:
        samplers = [
            run_collector(
                directory,
                *SAMPLER,
                environment=settings(
                    sentry,
                    directory / name,
                    SAMPLING_PERCENTAGE=f"{TAIL * 100:g}",
                    DECISION_WAIT="3s",
                ),
                options=(TRACE_STATE,),
                name=name,
            )
            for name, sentry in (("one", one), ("two", two))
        ]
        with samplers[0] as first, samplers[1] as second:
            hosts = [f"127.0.0.1:{sampler.grpc_port}" for sampler in (first, second)]
            balancing = {"resolver": {"dns": None, "static": {"hostnames": hosts}}}
            with run_collector(
                directory,
                "gateway/balancer.yaml",
                environment=settings(None),
                overlay={"exporters": {"load_balancing": balancing}},
                name="balancer",
            ) as balancer:
                # A request for each depth of all traces: no trace comes in one piece.
                for depth in range(3):
                    body = encode(spans[depth] for spans in sent.values())
                    assert post(balancer.url, body) == 200
                expected = {trace for trace, spans in sent.items() if is_kept(spans)}
                wait_until(lambda: len(one.spans()) + len(two.spans()) >= 3 * len(expected), 30)
    return sent, expected, arrived(one), arrived(two)


def is_kept(spans: list[Sent]) -> bool:
    """Say what the gateway is to do with a trace: errors, slow ones, and TAIL of all."""
    return (
        any(span.failed for span in spans)
        or any(span.milliseconds > 2000 for span in spans)
        or decide(TAIL, spans[0].trace_id) is not None
    )


def test_gateway_keeps_whole_traces(gateway):
    """Two samplers behind the balancer share the traces; each trace is kept whole or not at all."""
    sent, _, one, two = gateway
    assert one
    assert two
    assert not set(one) & set(two)
    for trace, spans in (one | two).items():
        assert {int(span["span_id"], 16) for span in spans} == {s.span_id for s in sent[trace]}


def test_gateway_keeps_errors_slow_traces_and_the_share(gateway):
    """The gateway keeps exactly the traces that failed, were slow, or our sampler keeps at TAIL."""
    _, expected, one, two = gateway
    assert set(one) | set(two) == expected


def test_head_and_tail_compose_by_threshold(gateway):
    """
    Head 25 % and tail 10 % keep 10 % of all traces, not 2.5 %, and ``th`` says so.

    Of 8,000 traces with a fixed seed. For another seed the share would be outside of ±5 standard
    deviations with a probability below 6e-7.
    """
    sent, _, one, two = gateway
    ordinary = {
        trace: spans[0]["trace_state"]
        for trace, spans in (one | two).items()
        if not any(s.failed or s.milliseconds > 2000 for s in sent[trace])
    }
    clean = sum(
        not any(s.failed or s.milliseconds > 2000 for s in spans) for spans in sent.values()
    )
    # `clean` stands for clean / HEAD traces before the head.
    number, share = clean / HEAD, TAIL
    deviation = (number * share * (1 - share)) ** 0.5
    assert abs(len(ordinary) - number * share) < 5 * deviation
    threshold = decide(TAIL, (1 << 56) - 1)
    assert set(ordinary.values()) == {threshold}


def test_error_traces_keep_the_threshold_of_the_head(gateway):
    """What the gateway keeps for its error stands for 1 / head rate traces, so ``th`` stays."""
    sent, _, one, two = gateway
    states = {
        spans[0]["trace_state"]
        for trace, spans in (one | two).items()
        if any(span.failed for span in sent[trace])
    }
    assert states == {decide(HEAD, (1 << 56) - 1)}
