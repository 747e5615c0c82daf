from __future__ import annotations

import asyncio
import gc
import pickle
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from heapq import heappush

import pytest
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context, use_span

from otel_sentry.transactions import assemble
from otel_sentry.transactions.segment import segment_of
from tests.forks import forks, in_child
from tests.spans import Tracing, span_id


@pytest.fixture
def tracing():
    """Return a fresh tracer provider with our processor."""
    tracing = Tracing()
    yield tracing
    tracing.provider.shutdown()


def names(event):
    """Return the names of a transaction's spans, in order."""
    return [span["description"] for span in event["spans"]]


def test_a_root_and_its_children_are_one_transaction(tracing):
    """Spans below a local root arrive in its transaction, in order of their start."""
    with tracing.tracer.start_as_current_span("root"):
        with tracing.tracer.start_as_current_span("a"), tracing.tracer.start_as_current_span("b"):
            pass
        with tracing.tracer.start_as_current_span("c"):
            pass

    (event,) = tracing.flush()
    assert event["transaction"] == "root"
    assert names(event) == ["a", "b", "c"]


def test_two_roots_are_two_transactions(tracing):
    """Each local root is a transaction of its own."""
    for name in ("one", "two"):
        with tracing.tracer.start_as_current_span(name):
            pass

    assert [event["transaction"] for event in tracing.flush()] == ["one", "two"]


@pytest.mark.parametrize("kind", [SpanKind.SERVER, SpanKind.CONSUMER])
def test_server_and_consumer_spans_open_a_segment(tracing, kind):
    """A SERVER or CONSUMER span is a transaction even where its parent lives in this process."""
    with (
        tracing.tracer.start_as_current_span("outer") as outer,
        tracing.tracer.start_as_current_span("inner", kind=kind),
        tracing.tracer.start_as_current_span("child"),
    ):
        pass

    inner_event, outer_event = tracing.flush()
    assert names(inner_event) == ["child"]
    assert inner_event["contexts"]["trace"]["parent_span_id"] == span_id(outer)
    assert names(outer_event) == []


def test_a_remote_parent_opens_a_segment(tracing):
    """A span whose parent is in another process is a local root that names its parent."""
    from opentelemetry.trace import SpanContext, TraceFlags

    remote = SpanContext(77, 78, is_remote=True, trace_flags=TraceFlags(1))
    context = set_span_in_context(NonRecordingSpan(remote))
    tracing.tracer.start_span("root", context=context).end()

    (event,) = tracing.flush()
    assert event["contexts"]["trace"]["trace_id"] == f"{77:032x}"
    assert event["contexts"]["trace"]["parent_span_id"] == f"{78:016x}"


def test_a_span_context_carries_the_segment_to_other_threads(tracing):
    """A child started from nothing but its parent's span context joins the parent's segment."""
    with tracing.tracer.start_as_current_span("root") as root:
        bare = set_span_in_context(NonRecordingSpan(root.get_span_context()))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: tracing.tracer.start_span("far", context=bare).end()).result()

    (event,) = tracing.flush()
    assert names(event) == ["far"]


def test_a_span_may_end_on_another_thread(tracing):
    """A span that is ended by another thread than started it is in its transaction."""
    with tracing.tracer.start_as_current_span("root"):
        child = tracing.tracer.start_span("child")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(child.end).result()

    (event,) = tracing.flush()
    assert names(event) == ["child"]


def test_two_segments_of_one_trace_in_one_process(tracing):
    """Nothing is keyed by trace id: two requests of one trace stay two transactions."""
    with tracing.tracer.start_as_current_span("caller"):
        context = otel_context.get_current()
        first = tracing.tracer.start_span("first", context, SpanKind.SERVER)
        second = tracing.tracer.start_span("second", context, SpanKind.SERVER)
        for server, child in ((first, "1"), (second, "2")):
            with use_span(server):
                tracing.tracer.start_span(child).end()
        second.end()
        first.end()

    by_name = {event["transaction"]: names(event) for event in tracing.flush()}
    assert by_name == {"first": ["1"], "second": ["2"], "caller": []}


def test_a_span_that_ends_soon_after_its_root_joins():
    """Within the grace time a late span is still part of the transaction."""
    tracing = Tracing(grace=30)
    with tracing.tracer.start_as_current_span("root"):
        late = tracing.tracer.start_span("late")
    late.end()

    (event,) = tracing.flush()
    assert names(event) == ["late"]
    tracing.provider.shutdown()


def test_a_segment_waits_for_open_spans_alone():
    """What is complete when its root ends is sent at once, though another segment still waits."""
    tracing = Tracing(grace=30)
    with tracing.tracer.start_as_current_span("incomplete"):
        late = tracing.tracer.start_span("late")
    for number in range(3):
        with tracing.tracer.start_as_current_span("complete"):
            tracing.tracer.start_span("child").end()
        deadline = time.monotonic() + 10
        while len(tracing.sink.events) <= number and time.monotonic() < deadline:
            time.sleep(0.001)

    assert [event["transaction"] for event in tracing.sink.events] == ["complete"] * 3
    late.end()
    assert names(tracing.flush()[-1]) == ["late"]
    tracing.provider.shutdown()


def test_a_late_span_is_a_continuation(tracing):
    """A span that ends after its transaction was sent arrives as one of its own, same parent."""
    with tracing.tracer.start_as_current_span("root") as root:
        late = tracing.tracer.start_span("late")
        with use_span(late):
            tracing.tracer.start_span("below").end()
    tracing.flush()
    late.end()

    first, second = tracing.flush()
    assert first["transaction"] == "root"
    assert second["transaction"] == "late"
    trace = second["contexts"]["trace"]
    assert (trace["trace_id"], trace["parent_span_id"]) == (
        first["contexts"]["trace"]["trace_id"],
        span_id(root),
    )


def test_late_children_wait_for_their_open_parent(tracing):
    """What ends below a late span that is still open is sent with it, not one by one."""
    with tracing.tracer.start_as_current_span("root"):
        late = tracing.tracer.start_span("late")
    tracing.flush()
    for name in ("one", "two", "three"):
        with use_span(late):
            tracing.tracer.start_span(name).end()
        tracing.flush()
    late.end()

    _, continuation = tracing.flush()
    assert continuation["transaction"] == "late"
    assert names(continuation) == ["one", "two", "three"]


def test_a_span_started_after_its_root_ended(tracing):
    """A background task that starts after the response is a continuation of the request."""
    with tracing.tracer.start_as_current_span("root") as root:
        context = otel_context.get_current()
    tracing.flush()
    with tracing.tracer.start_as_current_span("task", context=context):
        tracing.tracer.start_span("query").end()

    _, task = tracing.flush()
    assert (task["transaction"], names(task)) == ("task", ["query"])
    assert task["contexts"]["trace"]["parent_span_id"] == span_id(root)


def test_asyncio_tasks_join_and_outlive(tracing):
    """Tasks of a request are in its transaction; one that outlives it is a continuation."""

    async def work(name, gate):
        with tracing.tracer.start_as_current_span(name):
            await gate.wait()

    async def serve():
        now, later = asyncio.Event(), asyncio.Event()
        with tracing.tracer.start_as_current_span("request"):
            quick = [asyncio.create_task(work(f"quick {i}", now)) for i in range(3)]
            slow = asyncio.create_task(work("slow", later))
            await asyncio.sleep(0)
            now.set()
            await asyncio.gather(*quick)
        tracing.flush()
        later.set()
        await slow

    asyncio.run(serve())

    request, slow = tracing.flush()
    assert names(request) == ["quick 0", "quick 1", "quick 2"]
    assert slow["transaction"] == "slow"


def test_spans_over_the_limit_are_counted():
    """The limit keeps the earliest spans and the root, and counts the rest."""
    tracing = Tracing(max_spans=4)
    with tracing.tracer.start_as_current_span("root"):
        for number in range(10):
            tracing.tracer.start_span(f"child {number}").end()

    (event,) = tracing.flush()
    assert names(event) == ["child 0", "child 1", "child 2"]
    assert tracing.sink.counted == [("buffer_overflow", 0, 7)]
    tracing.provider.shutdown()


def test_what_was_below_a_span_over_the_limit_belongs_to_the_root():
    """A span that ends after all that is below it is dropped for them, and leaves no orphans."""
    tracing = Tracing(max_spans=10)
    with tracing.tracer.start_as_current_span("root") as root:
        with tracing.tracer.start_as_current_span("wrapper"):
            for number in range(20):
                tracing.tracer.start_span(f"child {number}").end()
        open_still = tracing.tracer.start_span("open")

    (event,) = tracing.flush()
    open_still.end()
    assert {span["parent_span_id"] for span in event["spans"]} == {span_id(root)}
    assert len(event["spans"]) == 9
    assert tracing.sink.counted == [("buffer_overflow", 0, 12)]
    tracing.provider.shutdown()


def test_noise_takes_no_place():
    """What is left out anyway is neither counted nor sent instead of what is not."""
    tracing = Tracing(max_spans=10, is_noise=lambda span: span.name == "noise")
    with tracing.tracer.start_as_current_span("root"):
        for number in range(12):
            for name in ("noise", f"child {number}"):
                tracing.tracer.start_span(name).end()

    (event,) = tracing.flush()
    assert names(event) == [f"child {number}" for number in range(9)]
    assert tracing.sink.counted == [("buffer_overflow", 0, 3)]
    tracing.provider.shutdown()


def test_what_was_below_noise_that_made_room():
    """It belongs to whom the noise was below, though that is forgotten before the root ends."""
    tracing = Tracing(max_spans=10, is_noise=lambda span: span.name == "noise")
    start = tracing.tracer.start_as_current_span
    with start("root") as root, start("step") as step:
        for _ in range(6):
            with start("noise"):
                tracing.tracer.start_span("child").end()

    (event,) = tracing.flush()
    assert tracing.sink.counted == []
    found = {(span["description"], span["parent_span_id"]) for span in event["spans"]}
    assert found == {("step", span_id(root)), ("child", span_id(step))}
    assert len(event["spans"]) == 7
    tracing.provider.shutdown()


def test_who_makes_room_slowly_holds_up_nobody():
    """While one thread looks for noise, others find it: no span goes for which there is room."""
    looks, goes_on = threading.Event(), threading.Event()

    def is_noise(span):
        if span.name == "first" and threading.current_thread() is slow:
            looks.set()
            goes_on.wait(10)
        return span.name == "noise"

    tracing = Tracing(max_spans=7, is_noise=is_noise)
    with tracing.tracer.start_as_current_span("root"):
        context = otel_context.get_current()

        def end(*names):
            for name in names:
                tracing.tracer.start_span(name, context=context).end()

        end("first", "second", "noise", "noise", "noise", "noise")
        slow = threading.Thread(target=end, args=("slow",))
        slow.start()
        assert looks.wait(10)
        end("third", "fourth", "fifth", "sixth")
        goes_on.set()
        slow.join(10)

    (event,) = tracing.flush()
    assert set(names(event)) == {"first", "second", "third", "fourth", "fifth", "sixth"}
    assert tracing.sink.lost_spans == 1
    tracing.provider.shutdown()


def test_noise_over_the_limit_in_many_threads():
    """While threads make room at once no span is lost, and none is sent twice."""
    tracing = Tracing(max_spans=400, is_noise=lambda span: span.name == "noise")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with tracing.tracer.start_as_current_span("root"):
            context = otel_context.get_current()

            def work():
                for _ in range(150):
                    tracing.tracer.start_span("noise", context=context).end()
                    tracing.tracer.start_span("child", context=context).end()

            with ThreadPoolExecutor(4) as pool:
                for done in [pool.submit(work) for _ in range(4)]:
                    done.result()
    finally:
        sys.setswitchinterval(before)

    (event,) = tracing.flush()
    assert set(names(event)) == {"child"}
    assert len(tracing.sink.span_ids) == len(set(tracing.sink.span_ids))
    assert len(event["spans"]) + tracing.sink.lost_spans == 600
    assert len(event["spans"]) > 390
    tracing.provider.shutdown()


def test_a_root_that_never_ends():
    """What is dropped below it is counted while it runs, and takes no memory."""
    tracing = Tracing(max_spans=10)
    root = tracing.tracer.start_span("main")
    context = set_span_in_context(root)
    for _ in range(5000):
        tracing.tracer.start_span("poll", context=context).end()

    assert len(segment_of(root.get_span_context()).dropped) <= 1001
    tracing.flush()
    counted = tracing.sink.lost_spans
    assert counted > 3000
    root.end()
    tracing.flush()
    assert tracing.sink.lost_spans == 5000 - 9
    assert {reason for reason, _, _ in tracing.sink.counted} == {"buffer_overflow"}
    tracing.provider.shutdown()


def test_never_ended_spans_are_reclaimed_and_counted(tracing):
    """A root that is never ended goes with its last reference; its finished spans are counted."""
    root = tracing.tracer.start_span("root")
    with use_span(root):
        tracing.tracer.start_span("child").end()
    segment = weakref.ref(segment_of(root.get_span_context()))
    del root
    for _ in range(3):
        gc.collect()

    assert segment() is None
    assert tracing.flush() == []
    assert tracing.sink.counted == [("insufficient_data", 0, 1)]


def test_the_context_at_the_end_of_the_root_is_kept(tracing):
    """The transaction is captured in the context variables of its root's end."""
    from contextvars import ContextVar

    user = ContextVar("user", default="nobody")

    def request(name):
        with tracing.tracer.start_as_current_span("request"):
            user.set(name)

    for name in ("ada", "bob"):
        copy_context().run(request, name)
    tracing.flush()

    assert [context.run(user.get) for context in tracing.sink.contexts] == ["ada", "bob"]


def test_a_span_context_with_a_segment_can_be_pickled(tracing):
    """Span contexts still travel to other processes, without their segment."""
    with tracing.tracer.start_as_current_span("root") as root:
        copied = pickle.loads(pickle.dumps(root.get_span_context()))

    assert copied == root.get_span_context()
    assert segment_of(copied) is None


def test_a_broken_assembler_does_not_reach_the_application(tracing, monkeypatch, caplog):
    """Whatever fails in us is logged once; starting and ending a span does not raise."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(tracing.assembler, "submit", None)

    tracing.tracer.start_span("root").end()

    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "otel_sentry failed while ending a span"
    ]


def test_every_span_of_many_threads_is_sent_once():
    """With threads that switch all the time no span is lost, none is sent twice."""
    tracing = Tracing(grace=0.0, max_queued_spans=10**6)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work():
        for _ in range(200):
            with tracing.tracer.start_as_current_span("root"):
                with tracing.tracer.start_as_current_span("a"):
                    pass
                late = tracing.tracer.start_span("late")
            late.end()

    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)

    tracing.flush()
    sent = tracing.sink.span_ids
    assert len(sent) == len(set(sent)) == 4 * 200 * 3
    assert tracing.sink.counted == []
    tracing.provider.shutdown()


def test_overflow_drops_whole_transactions_and_counts_them():
    """What does not fit into the queue is dropped whole: sent and counted are all there was."""
    tracing = Tracing(grace=30, max_queued_spans=50)
    open_spans = []  # their segments wait
    for _ in range(20):
        with tracing.tracer.start_as_current_span("root"):
            for _ in range(4):
                tracing.tracer.start_span("child").end()
            open_spans.append(tracing.tracer.start_span("open"))

    events = tracing.flush()
    assert {len(event["spans"]) for event in events} == {4}
    assert len(events) == 10
    assert tracing.sink.counted == [("queue_overflow", 1, 5)] * 10
    tracing.provider.shutdown()


def test_what_ends_after_the_shutdown_is_counted(tracing):
    """After the provider's shutdown nothing is queued any more; what still ends is counted."""
    with tracing.tracer.start_as_current_span("root"):
        tracing.provider.shutdown()
        with tracing.tracer.start_as_current_span("child"):
            pass

    assert tracing.sink.events == []
    assert tracing.sink.counted == [("queue_overflow", 1, 2)]


def test_flush_tells_the_truth():
    """force_flush() is true only where everything built has left the process."""
    tracing = Tracing()
    answers = [False, True]
    tracing.processor._flush = lambda _timeout: answers.pop(0)
    tracing.tracer.start_span("root").end()

    assert tracing.provider.force_flush(1000) is False
    assert tracing.provider.force_flush(1000) is True
    tracing.processor._flush = lambda _timeout: True
    tracing.provider.shutdown()


@forks
def test_fork_with_an_open_request(tracing):
    """The parent sends what it started; the child sends only what it starts, on its own thread."""
    with tracing.tracer.start_as_current_span("before"):
        pass
    tracing.flush()
    root = tracing.tracer.start_span("parent's")

    def work():
        tracing.sink.events.clear()
        with use_span(root, end_on_exit=True):
            tracing.tracer.start_span("child's").end()
        tracing.provider.force_flush(5000)
        return ",".join(event["transaction"] for event in tracing.sink.events)

    child = in_child(work)
    root.end()

    assert child == "child's"
    assert [event["transaction"] for event in tracing.flush()] == ["before", "parent's"]


def test_raw_threads_with_the_threading_instrumentation(tracing):
    """With `otel-sentry[threading]` what a raw thread does is part of the request's transaction."""
    instrumentor = ThreadingInstrumentor()

    def work():
        with tracing.tracer.start_as_current_span("in a thread", kind=SpanKind.CLIENT):
            pass

    instrumentor.instrument()
    try:
        with tracing.tracer.start_as_current_span("root"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    finally:
        instrumentor.uninstrument()

    (event,) = tracing.flush()
    assert names(event) == ["in a thread"]


def test_a_root_that_was_open_for_hours(tracing):
    """A job that ran for half a day is sent whole, when it ends."""
    began = time.time_ns() - 12 * 3600 * 10**9
    root = tracing.tracer.start_span("job", start_time=began)
    tracing.tracer.start_span("first step", set_span_in_context(root), start_time=began).end(
        end_time=began + 10**9
    )
    root.end()

    (event,) = tracing.flush()
    assert event["timestamp"] - event["start_timestamp"] >= 12 * 3600
    assert names(event) == ["first step"]


def test_a_root_that_ends_inside_another_trace(tracing):
    """A transaction keeps its own ids and op, whatever span is current when its root ends."""
    root = tracing.tracer.start_span("root", attributes={"sentry.op": "mine"})
    with tracing.tracer.start_as_current_span("other trace"):
        root.end()

    event = next(event for event in tracing.flush() if event["transaction"] == "root")
    trace = event["contexts"]["trace"]
    assert trace["span_id"] == span_id(root)
    assert trace["trace_id"] == f"{root.get_span_context().trace_id:032x}"
    assert "parent_span_id" not in trace
    assert trace["op"] == "mine"


def test_whoever_logs_may_end_a_span_meanwhile(monkeypatch):
    """While what does not fit is counted and said, a thread that holds up the log ends a span."""
    tracing, waited = Tracing(grace=30, max_queued_spans=0), []

    def end_elsewhere(*_, **__):
        monkeypatch.undo()
        thread = threading.Thread(target=lambda: tracing.tracer.start_span("of the log").end())
        thread.start()
        thread.join(5)
        waited.append(thread.is_alive())

    for target, name in ((tracing.sink, "lost"), (assemble.logger, "warning")):
        monkeypatch.setattr(target, name, end_elsewhere)
        tracing.tracer.start_span("root").end()
    assert waited == [False, False]
    tracing.provider.shutdown()


def test_a_garbage_collection_in_the_start_of_the_thread(monkeypatch):
    """A root that ends while the thread starts, wherever that comes from, starts no other."""
    tracing, started, start_thread = Tracing(), [], assemble.start_thread

    def start(*args):
        started.append(args)
        if len(started) == 1:
            tracing.tracer.start_span("collected").end()
        return start_thread(*args)

    monkeypatch.setattr(assemble, "start_thread", start)
    tracing.tracer.start_span("root").end()

    assert {event["transaction"] for event in tracing.flush()} == {"root", "collected"}
    assert len(started) == 1
    tracing.provider.shutdown()


def test_a_flush_where_no_thread_can_be_started(monkeypatch):
    """It builds in its own thread, within its time, while others go on to end what they have."""
    monkeypatch.setattr(assemble, "start_thread", lambda *_: None)
    tracing, waited = Tracing(), []
    for _ in range(3):
        tracing.tracer.start_span("root").end()
    build = tracing.sink.transaction

    def end_elsewhere(*built):
        time.sleep(0.1)
        thread = threading.Thread(target=lambda: tracing.tracer.start_span("request").end())
        thread.start()
        thread.join(5)
        waited.append(thread.is_alive())
        build(*built)

    monkeypatch.setattr(tracing.sink, "transaction", end_elsewhere)
    assert tracing.assembler.drain(0.05) is False
    assert waited == [False]
    monkeypatch.setattr(tracing.sink, "transaction", build)
    assert tracing.assembler.drain(10) is True
    assert sorted(event["transaction"] for event in tracing.sink.events) == ["request"] + 3 * [
        "root"
    ]


class SoftTimeLimitExceeded(Exception):  # noqa: N818 - as billiard calls it
    """What Celery's handler of SIGUSR1 raises in a task."""


@pytest.mark.parametrize("is_queued", [False, True])
def test_a_soft_limit_that_strikes_as_a_root_is_queued(monkeypatch, is_queued):
    """It leaves no part of the queue taken for good: what ends later has all of it again."""
    tracing = Tracing(grace=0, max_queued_spans=1)
    monkeypatch.setattr(assemble, "heappush", strike(is_queued))
    with pytest.raises(SoftTimeLimitExceeded):
        tracing.tracer.start_span("struck").end()
    monkeypatch.undo()
    for number in range(3):
        tracing.tracer.start_span(f"later {number}").end()
        tracing.flush()

    assert [event["transaction"] for event in tracing.sink.events if "later" in str(event)] == [
        "later 0",
        "later 1",
        "later 2",
    ]
    assert "queue_overflow" not in {reason for reason, _, _ in tracing.sink.counted}
    assert tracing.assembler._queued_spans == 0
    tracing.provider.shutdown()


def strike(is_queued):
    def push(*entry):
        if is_queued:
            heappush(*entry)
        raise SoftTimeLimitExceeded

    return push
