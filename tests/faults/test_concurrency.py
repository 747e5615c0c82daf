"""Many at once: threads that switch at every chance, or really run at once; tasks, greenlets."""

from __future__ import annotations

import logging
import sys
import threading
from contextvars import ContextVar, copy_context
from importlib.util import find_spec
from itertools import count

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags, set_span_in_context

from otel_sentry._logging import _OncePerMinute, logger
from otel_sentry.backends._queue import BatchQueue, Limits
from otel_sentry.propagation import SentryPropagator
from otel_sentry.scrubbing import Scrubber, _shapes
from otel_sentry.settings import Settings
from otel_sentry.trace_state import SentryTraceState
from tests.faults.driver import run_script
from tests.spans import Tracing

THREADS, ROUNDS, CHILDREN = 8, 200, 5

REQUEST = ContextVar("request")


@pytest.fixture
def restless():
    """Let threads switch a thousand times as often as they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work):
    """Return what ``work`` returns in each of many threads, which all begin at once."""
    gate = threading.Barrier(THREADS)
    returned, failures = [], []

    def run(thread):
        try:
            gate.wait(10)
            returned.append(work(thread))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return returned


def test_threads_that_switch_at_every_chance(restless):
    """No span is lost, doubled or put into another's transaction, whoever is interrupted where."""
    tracing = Tracing(grace=0.0, max_spans=4)

    def work(thread):
        for number in range(ROUNDS):
            with tracing.tracer.start_as_current_span(f"{thread}-{number}"):
                for _ in range(CHILDREN):
                    tracing.tracer.start_span(f"{thread}-{number}").end()

    at_once(work)
    events = tracing.flush()

    assert len(events) == THREADS * ROUNDS
    assert len(tracing.sink.span_ids) == len(set(tracing.sink.span_ids))
    made = THREADS * ROUNDS * (CHILDREN + 1)
    assert len(tracing.sink.span_ids) + tracing.sink.lost_spans == made
    for event in events:
        assert {span["description"] for span in event["spans"]} == {event["transaction"]}


def test_late_spans_that_race_with_their_root(restless):
    """A child that ends in another thread while its root ends is sent once, with its scopes."""
    tracing = Tracing(grace=0.0)
    gate = threading.Barrier(2)
    token = REQUEST.set("ours")

    def late(spans):
        for span in spans:
            gate.wait(10)
            span.end()

    roots = [tracing.tracer.start_span("root") for _ in range(500)]
    children = [tracing.tracer.start_span("child", set_span_in_context(root)) for root in roots]
    thread = threading.Thread(target=copy_context().run, args=(late, children))
    thread.start()
    for root in roots:
        gate.wait(10)
        root.end()
    thread.join()
    REQUEST.reset(token)
    tracing.flush()

    assert len(tracing.sink.span_ids) == len(set(tracing.sink.span_ids))
    assert len(tracing.sink.span_ids) + tracing.sink.lost_spans == 1000
    assert {context.get(REQUEST) for context in tracing.sink.contexts} == {"ours"}


def test_late_spans_while_the_queue_is_full(restless):
    """What is dropped in one thread, while another takes it to build it, is sent or counted."""
    tracing = Tracing(grace=0.0, max_spans=3, max_queued_spans=4)

    def work(thread):
        for _ in range(ROUNDS):
            root = tracing.tracer.start_span("root")
            inside = set_span_in_context(root)
            children = [tracing.tracer.start_span("child", inside) for _ in range(CHILDREN)]
            root.end()
            for child in children:
                child.end()

    at_once(work)
    tracing.flush()

    made = THREADS * ROUNDS * (CHILDREN + 1)
    assert len(tracing.sink.span_ids) == len(set(tracing.sink.span_ids))
    assert len(tracing.sink.span_ids) + tracing.sink.lost_spans == made
    assert "internal_sdk_error" not in {reason for reason, _, _ in tracing.sink.counted}


def test_abandoned_spans_are_counted_once(restless):
    """Requests that count, all at once, what was collected as garbage count each span once."""
    tracing = Tracing()

    def work(thread):
        for _ in range(ROUNDS * 10):
            tracing.assembler.abandoned.extend([1] * 5)
            tracing.assembler.count_lost()

    at_once(work)

    assert tracing.sink.lost_spans == THREADS * ROUNDS * 10 * 5


def test_one_sampling_context_of_a_trace(restless):
    """Threads that are the first to send something of a trace send the same sampling context."""
    propagator = SentryPropagator(Settings.from_env({"SENTRY_DSN": "http://key@localhost/1"}))
    numbers = count()
    traces = [
        SpanContext(
            trace_id=number,
            span_id=number,
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
            trace_state=SentryTraceState(
                sampled=True, name_transaction=lambda: f"GET /{next(numbers)}"
            ),
        )
        for number in range(1, ROUNDS + 1)
    ]

    sent = at_once(lambda _: [propagator.dynamic_sampling_context(trace) for trace in traces])

    for contexts in zip(*sent, strict=True):
        assert len({context["transaction"] for context in contexts}) == 1


def test_one_line_a_minute_whoever_says_it(restless):
    """A sentence is said once where many threads say it at once, and however many there are."""
    once = _OncePerMinute()
    records = [
        logging.LogRecord("otel_sentry", logging.WARNING, "", 0, f"sentence {number}", (), None)
        for number in range(once._MAX_SENTENCES)
    ]

    said = at_once(lambda _: [once.filter(record) for record in records])
    assert [sum(one) for one in zip(*said, strict=True)] == [1] * len(records)

    def many(thread):
        for number in range(ROUNDS * 3):
            record = logging.LogRecord("", 0, "", 0, f"{thread} {number}", (), None)
            assert once.filter(record)

    at_once(many)
    assert len(once._last_said) <= once._MAX_SENTENCES


class Exporter:
    """Keep what was exported."""

    def __init__(self):
        self.items = []

    def export(self, batch):
        self.items += batch
        return SpanExportResult.SUCCESS

    def shutdown(self):
        pass


def test_a_full_batch_goes_at_once(restless):
    """A batch that many threads fill together goes when it is full, not when it is due."""
    exporter, full = Exporter(), threading.Event()
    exporter.export = lambda batch: (full.set(), Exporter.export(exporter, batch))[1]
    queue = BatchQueue(lambda: exporter, "here", Limits(max_queue=1000, max_batch=4, delay=60))
    for _ in range(100):
        full.clear()
        at_once(queue.put)
        assert full.wait(10)
    assert queue.begin_shutdown()(10)

    assert sorted(exporter.items) == sorted(list(range(THREADS)) * 100)


def test_threads_that_forget_what_they_scrubbed(restless, monkeypatch, caplog):
    """A scrubber that all threads share lets no secret through while what it knows is forgotten."""
    monkeypatch.setattr(_shapes, "MAX_REMEMBERED", 2)
    monkeypatch.setattr(logger, "propagate", True)
    scrubber = Scrubber()

    def work(thread):
        for number in range(ROUNDS):
            text = f"password=hunter{thread} of user {number % 5}"
            said = scrubber.attributes(
                {
                    "note": text,
                    "harmless": f"text {number % 5}",
                    f"of.{thread}.{number}": "value",
                    "db.query.text": f"SELECT * FROM t WHERE a = 'hunter{thread}'",
                    "db.system.name": "postgresql",
                }
            )
            assert "hunter" not in repr(said)
            assert said["harmless"] == f"text {number % 5}"
            assert "hunter" not in repr(scrubber.event({"message": text, "extra": {"a": text}}))

    at_once(work)

    assert caplog.records == []


PARALLEL = """
import threading
import application, sentry_sdk
from opentelemetry import trace

def request(number):
    with sentry_sdk.isolation_scope():
        sentry_sdk.set_tag("number", str(number))
        with application.tracer.start_as_current_span(f"r{number}", kind=trace.SpanKind.SERVER):
            for _ in range(3):
                with application.tracer.start_as_current_span(f"child of r{number}"):
                    pass
            try:
                raise ValueError(f"error of r{number}")
            except ValueError as error:
                sentry_sdk.capture_exception(error)

def work(first):
    gate.wait(10)
    for number in range(first, first + 50):
        request(number)

gate = threading.Barrier(8)
threads = [threading.Thread(target=work, args=(50 * number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
trace.get_tracer_provider().force_flush(60_000)
"""


def test_requests_in_threads(far_end):
    """Requests in threads that run at once do not mix, nor do their errors."""
    done = run_script(PARALLEL, far_end.dsn)
    assert done.returncode == 0, done.stderr

    assert_separate(far_end, 400)
    traces = {
        event["transaction"]: event["contexts"]["trace"]["trace_id"]
        for event in far_end.receiver.transactions()
    }
    errors = far_end.receiver.errors()
    assert len(errors) == 400
    for error in errors:
        name = f"r{error['tags']['number']}"
        assert error["exception"]["values"][-1]["value"] == f"error of {name}"
        assert error["transaction"] == name
        assert error["contexts"]["trace"]["trace_id"] == traces[name]


TASKS = """
import asyncio, application, sentry_sdk
from opentelemetry import trace

async def request(number):
    with sentry_sdk.isolation_scope():
        sentry_sdk.set_tag("number", str(number))
        with application.tracer.start_as_current_span(f"r{number}", kind=trace.SpanKind.SERVER):
            for _ in range(3):
                await asyncio.sleep(0.001 * (number % 7))
                with application.tracer.start_as_current_span(f"child of r{number}"):
                    await asyncio.sleep(0)

async def main():
    await asyncio.gather(*(request(number) for number in range(1000)))

asyncio.run(main())
trace.get_tracer_provider().force_flush(60_000)
"""


def assert_separate(far_end, count):
    """Each request's transaction arrived once, with its own children and tags."""
    events = {event["transaction"]: event for event in far_end.receiver.transactions()}
    assert len(far_end.receiver.transactions()) == len(events) == count
    for name, event in events.items():
        assert [span["description"] for span in event["spans"]] == [f"child of {name}"] * 3
        assert event["tags"] == {"number": name[1:]}


def test_a_thousand_concurrent_tasks(far_end):
    """A thousand requests at once on one event loop do not mix."""
    done = run_script(TASKS, far_end.dsn)
    assert done.returncode == 0, done.stderr

    assert_separate(far_end, 1000)


GREENLETS = """
import application, sentry_sdk, os, signal, {module}
from opentelemetry import trace

def request(number):
    with sentry_sdk.isolation_scope():
        sentry_sdk.set_tag("number", str(number))
        with application.tracer.start_as_current_span(f"r{{number}}", kind=trace.SpanKind.SERVER):
            for _ in range(3):
                {module}.sleep(0.001 * (number % 7))
                with application.tracer.start_as_current_span(f"child of r{{number}}"):
                    {module}.sleep(0)

{run}
{end}
"""
RUN = {
    "gevent": "gevent.joinall([gevent.spawn(request, n) for n in range(300)], raise_error=True)",
    "eventlet": (
        "pile = eventlet.GreenPool(300)\nfor n in range(300): pile.spawn(request, n)\n"
        "pile.waitall()"
    ),
}
PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


SIGTERM = "os.kill(os.getpid(), signal.SIGTERM); gevent.sleep(20)"
NO_EVENTLET = pytest.mark.skipif(
    find_spec("eventlet") is None,
    reason="no test dependency: sentry-sdk imports it where it is, and that import warns",
)


@pytest.mark.parametrize(
    ("module", "end"),
    [("gevent", ""), ("gevent", SIGTERM), pytest.param("eventlet", "", marks=NO_EVENTLET)],
)
def test_greenlets(far_end, module, end):
    """Under a patched interpreter greenlets do not mix either, and the end flushes."""
    code = GREENLETS.format(module=module, run=RUN[module], end=end)
    done = run_script(code, far_end.dsn, first=PATCH[module])
    assert "Traceback" not in done.stderr, done.stderr

    assert_separate(far_end, 300)
    assert far_end.lost("transaction") == 0
