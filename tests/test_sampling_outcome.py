"""What is counted as left out, and what is kept for its outcome."""

from __future__ import annotations

import math
import random
import threading

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from otel_sentry.options import Options
from otel_sentry.propagation import SentryPropagator
from otel_sentry.sampling import SentrySampler, build_sampler, parse_rules, sentry_sampler
from otel_sentry.sampling.outcome import Outcome
from otel_sentry.sampling.unsampled import Unsampled
from otel_sentry.settings import Settings
from otel_sentry.trace_state import SentryTraceState
from otel_sentry.transactions import SentrySpanProcessor
from otel_sentry.transactions.assemble import Assembler
from tests.forks import forks, in_child
from tests.spans import Sink

SETTINGS = Settings.from_env(
    {"SENTRY_DSN": "https://key@o17.ingest.sentry.io/42", "OTEL_SENTRY_KEEP_ERRORS": "true"}
)
ERROR = Status(StatusCode.ERROR)
SECOND = 1_000_000_000


class Reports:
    """The far end of the counter."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, reason: str, *, transactions: int, spans: int) -> None:
        self.calls.append((reason, transactions, spans))


def counting():
    reports, unsampled = Reports(), Unsampled()
    unsampled.report_to(reports)
    return reports, unsampled


# --- counting ----------------------------------------------------------------------------------


def test_the_counter_hands_over_in_bulk():
    """A thousand transactions are one call; the rest waits for the background, nothing twice."""
    reports, unsampled = counting()
    for _ in range(2500):
        unsampled.add()
    assert reports.calls == [("sample_rate", 1000, 1000)] * 2
    for _ in range(2):
        unsampled.flush()
    assert reports.calls[2:] == [("sample_rate", 500, 500)]


def test_the_counter_counts_every_thread():
    """Nothing is lost between threads."""
    reports, unsampled = counting()

    def count():
        for _ in range(5000):
            unsampled.add()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    unsampled.flush()
    assert sum(transactions for _, transactions, _ in reports.calls) == 20_000


def test_without_a_far_end_nothing_is_kept():
    """Without Sentry there is nothing to count for, and nothing grows."""
    unsampled = Unsampled()
    for _ in range(10):
        unsampled.add()
    unsampled.flush()
    assert not unsampled._seen


@forks
def test_a_child_counts_its_own():
    """What was counted before a fork is the parent's to report."""
    reports, unsampled = counting()
    unsampled.add()

    def work():
        unsampled.flush()
        return str(len(reports.calls))

    assert in_child(work) == "0"
    unsampled.flush()
    assert reports.calls == [("sample_rate", 1, 1)]
    unsampled.add()
    unsampled._seen_by_parent()  # as the child does
    unsampled.flush()
    assert len(reports.calls) == 1


def remote(sampled):
    state = SentryTraceState(sampled=sampled)
    flags = TraceFlags(bool(sampled))
    span = SpanContext(7, 1, is_remote=True, trace_flags=flags, trace_state=state)
    return set_span_in_context(NonRecordingSpan(span), Context())


@pytest.mark.parametrize(
    ("parent", "kind", "counted"),
    [
        (None, SpanKind.SERVER, 1),
        (None, SpanKind.INTERNAL, 1),
        (None, SpanKind.CLIENT, 0),  # plumbing starts no trace
        (False, SpanKind.SERVER, 1),
        (False, SpanKind.INTERNAL, 1),
        (True, SpanKind.SERVER, 0),
    ],
)
def test_each_local_root_counts_once(parent, kind, counted):
    """A local root that is left out counts once, whoever decided; what is below it does not."""
    reports, unsampled = counting()
    provider = TracerProvider(
        sampler=SentrySampler(0.0, unsampled=unsampled), shutdown_on_exit=False
    )
    tracer = provider.get_tracer("t")
    context = Context() if parent is None else remote(parent)
    root = set_span_in_context(tracer.start_span("root", context, kind), Context())
    below = set_span_in_context(tracer.start_span("child", root), Context())
    tracer.start_span("request", below, SpanKind.CLIENT, {"url.full": "http://h/"})
    unsampled.flush()
    assert reports.calls == [("sample_rate", 1, 1)] * counted
    if not parent:
        tracer.start_span("task", below, SpanKind.CONSUMER)
        unsampled.flush()
        assert len(reports.calls) == counted + 1, "a task is a transaction of its own"


@pytest.mark.parametrize(("sampled", "kept"), [(None, True), (False, False), (True, True)])
def test_inside_parent_based(sampled, kept):
    """As the docs put it into `ParentBased`, an open decision is made, and a no is followed."""
    ours = SentrySampler(1.0)
    sampler = ParentBased(ours, remote_parent_not_sampled=ours)
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
    root = tracer.start_span("GET", remote(sampled), SpanKind.SERVER)
    child = tracer.start_span("child", set_span_in_context(root, Context()))
    assert (root.is_recording(), child.is_recording()) == (kept, kept)


# --- keeping -----------------------------------------------------------------------------------


class Kept:
    """Our processor as the backend `sentry` builds it, in front of a sink."""

    def __init__(self, sampler: SentrySampler, outcome: Outcome | None, **more) -> None:
        self.sink, self.asked = Sink(), []
        self.assembler = Assembler(self.sink, grace=0.02)
        self._outcome = outcome
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False, **more)
        self.provider.add_span_processor(
            SentrySpanProcessor(self.assembler, lambda _: True, keep=self._keep)
        )
        self.tracer = self.provider.get_tracer("t")

    def _keep(self, root):
        self.asked.append(root.name)
        return self._outcome is not None and self._outcome.matters(root)

    def request(self, *, status=None, seconds=0.0, context=None, kind=SpanKind.SERVER):
        root = self.tracer.start_span("GET", context or Context(), kind, start_time=SECOND)
        below = set_span_in_context(root, Context())
        self.tracer.start_span("child", below).end()
        if status is not None:
            root.set_status(status)
        root.end(SECOND + int(seconds * SECOND))
        return root

    def sent(self):
        assert self.provider.force_flush(10_000)
        return self.sink.events


@pytest.mark.parametrize(
    ("slow", "status", "seconds", "sent"),
    [
        (30, ERROR, 0, True),
        (30, Status(StatusCode.OK), 1, False),
        (30, None, 30, False),
        (30, None, 30.1, True),
        (0, None, 1000, False),
        (0, ERROR, 0, True),
    ],
)
def test_what_is_kept(slow, status, seconds, sent):
    """Of what the rate leaves out, errors and what took longer than the threshold are sent."""
    kept = Kept(SentrySampler(0.0, record_unsampled=True), Outcome(slow))
    root = kept.request(status=status, seconds=seconds)
    events = kept.sent()
    assert [len(event["spans"]) for event in events] == [1] * sent
    assert not root.get_span_context().trace_flags.sampled, "others are told that it is not sampled"
    assert kept.sink.counted == []
    assert kept.asked == ["GET"]


@pytest.mark.parametrize("record", [True, False])
def test_without_the_wish_nothing_unsampled_is_sent(record):
    """What is recorded and not sampled, by whatever sampler, is not sent unless kept."""
    kept = Kept(SentrySampler(0.0, record_unsampled=record), None)
    kept.request(status=ERROR)
    assert kept.sent() == []
    assert kept.asked == ["GET"] * record


NEVER = Options()
NEVER.traces_sampler = lambda _: 0


@pytest.mark.parametrize(
    ("sampler", "context", "sent"),
    [
        (SentrySampler(0.5, parse_rules("GET=0"), record_unsampled=True), None, False),
        (SentrySampler(0.0, parse_rules("other=1"), record_unsampled=True), None, True),
        (SentrySampler(1.0, record_unsampled=True), remote(False), True),
        (SentrySampler(1.0, parse_rules("GET=0"), record_unsampled=True), remote(False), False),
        (SentrySampler(1.0, parse_rules("GET=0.1"), record_unsampled=True), remote(False), True),
        (SentrySampler(1.0, options=NEVER, record_unsampled=True), remote(False), False),
        (SentrySampler(0.0, record_unsampled=True), remote(None), True),
    ],
)
def test_a_rate_of_zero_that_someone_chose_stays_zero(sampler, context, sent):
    """A chosen 0 means never, whoever left it out; else the outcome decides."""
    kept = Kept(sampler, Outcome(0))
    kept.request(status=ERROR, context=context)
    assert len(kept.sent()) == sent


def test_plumbing_is_not_kept():
    """A CLIENT span without a parent is not recorded either."""
    kept = Kept(SentrySampler(0.0, record_unsampled=True), Outcome(0))
    kept.request(status=ERROR, kind=SpanKind.CLIENT)
    assert kept.sent() == []


def test_what_celery_says_to_its_broker_is_not_kept():
    """Below a publishing that is not sampled, the broker's commands are not recorded either."""
    sampler = SentrySampler(0.0, record_unsampled=True)
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    celery = provider.get_tracer("opentelemetry.instrumentation.celery")
    publishing = celery.start_span("apply_async/a", Context(), SpanKind.PRODUCER)
    below = set_span_in_context(publishing, Context())
    assert publishing.is_recording()
    assert not celery.start_span("LPUSH", below, SpanKind.CLIENT).is_recording()


def test_late_spans_of_what_is_kept():
    """A span within the grace time joins; a later one is counted, not sent with a wrong weight."""
    kept = Kept(SentrySampler(0.0, record_unsampled=True), Outcome(0))
    root = kept.tracer.start_span("GET", Context(), SpanKind.SERVER)
    below = set_span_in_context(root, Context())
    soon, late = (kept.tracer.start_span(name, below) for name in ("soon", "late"))
    root.set_status(ERROR)
    root.end()
    soon.end()
    assert [len(event["spans"]) for event in kept.sent()] == [1]
    late.end()
    assert len(kept.sent()) == 1
    assert kept.sink.counted == [("insufficient_data", 0, 1)]


def test_late_spans_of_what_is_not_kept():
    """Once the root is left out, its spans are, too, and nobody asks twice about one root."""
    kept = Kept(SentrySampler(0.0, record_unsampled=True), Outcome(0))
    root = kept.tracer.start_span("GET", Context(), SpanKind.SERVER)
    below = set_span_in_context(root, Context())
    late = kept.tracer.start_span("late", below)
    root.end()
    late.set_status(ERROR)
    late.end()
    assert kept.sent() == []
    assert kept.sink.counted == []


def test_other_exporters_get_no_unsampled_span():
    """OpenTelemetry's batch processor, which feeds OTLP, takes sampled spans alone."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        sampler=SentrySampler(0.0, record_unsampled=True), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    span = provider.get_tracer("t").start_span("GET", Context(), SpanKind.SERVER)
    assert span.is_recording()
    span.end()
    provider.force_flush()
    assert exporter.get_finished_spans() == ()
    provider.shutdown()


@pytest.mark.parametrize(
    ("environ", "slow"),
    [
        ({}, None),
        ({"OTEL_SENTRY_KEEP_ERRORS": "true"}, 30.0),
        ({"OTEL_SENTRY_KEEP_ERRORS": "true", "OTEL_SENTRY_KEEP_SLOW": "2.5"}, 2.5),
        ({"OTEL_SENTRY_KEEP_ERRORS": "true", "OTEL_SENTRY_KEEP_SLOW": "-1"}, 30.0),
        ({"OTEL_SENTRY_KEEP_ERRORS": "true", "OTEL_TRACES_SAMPLER": "always_on"}, None),
    ],
)
def test_the_variables(environ, slow):
    """Off by default, and where another sampler decides."""
    outcome = Outcome.from_settings(Settings.from_env(environ))
    assert (outcome and outcome.slow_seconds) == slow


def test_only_our_own_processor_gets_unsampled_spans(monkeypatch):
    """Under another distribution nothing looks at the outcome, so nothing is recorded for it."""
    monkeypatch.setenv("OTEL_SENTRY_KEEP_ERRORS", "true")
    monkeypatch.setenv("SENTRY_TRACES_SAMPLE_RATE", "0")
    for sampler, recorded in ((sentry_sampler(), False), (build_sampler(SETTINGS), True)):
        decision = sampler.should_sample(None, 1, "GET", SpanKind.SERVER).decision
        assert decision.is_recording() is recorded


# --- weights -----------------------------------------------------------------------------------


class Seeded(IdGenerator):
    """Random ids from a fixed seed."""

    def __init__(self) -> None:
        self._random = random.Random(20_261_122)

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1


@pytest.mark.parametrize("rate", [0.02, 0.25])
def test_weights_estimate_all_traffic_without_bias(rate):
    """
    The sum of 1 / `sample_rate` over what is sent estimates the number of all requests.

    So do those of the failed ones, exactly, and of the others. Fixed seed; with a random one a
    deviation of five standard deviations would come in 6 of 10^7 runs.
    """
    number, fails = 4000, 400
    outcome, propagator = Outcome(0), SentryPropagator(SETTINGS)
    sampler = SentrySampler(rate, record_unsampled=True)
    kept = Kept(sampler, outcome, id_generator=Seeded())
    weights: dict[bool, float] = {True: 0.0, False: 0.0}

    def weigh(tree, _context):
        frozen = propagator.dynamic_sampling_context(tree.root.context)
        sent = outcome.weighed(tree.root, frozen)
        assert (float(sent["sample_rand"]) < float(sent["sample_rate"])) is True
        assert sent["sampled"] == "true"
        assert frozen["sample_rate"] == f"{rate:g}", "others are told the trace's own"
        weights[tree.root.status.status_code is StatusCode.ERROR] += 1 / float(sent["sample_rate"])

    kept.sink.transaction = weigh
    for index in range(number):
        kept.request(status=ERROR if index < fails else None)
    kept.sent()
    assert weights[True] == fails
    others = number - fails
    deviation = math.sqrt(others * (1 - rate) / rate)
    assert abs(weights[False] - others) <= 5 * deviation
