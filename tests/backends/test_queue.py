from __future__ import annotations

import logging
import os
import threading
import time

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_sentry._logging import logger
from otel_sentry.backends import _exit, _queue
from otel_sentry.backends._batches import Batches
from otel_sentry.backends._fan_out import FanOut
from otel_sentry.backends._queue import BatchQueue, Limits


class FarEnd:
    """An exporter whose answers are set from outside."""

    def __init__(self, result=SpanExportResult.SUCCESS) -> None:
        self.result = result
        self.retry_at: float | None = None
        self.retry_after: float | None = None
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.called = threading.Event()
        self.is_shut_down = False

    def export(self, batch):
        self.called.set()
        self.gate.wait(20)
        self.batches.append(batch)
        self.retry_at = self.retry_after and time.monotonic() + self.retry_after
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self):
        self.is_shut_down = True
        self.gate.set()


class Counted:
    """Counts what a queue reports as lost."""

    def __init__(self) -> None:
        self.by_reason: dict[str, int] = {}

    def __call__(self, spans, reason):
        self.by_reason[reason] = self.by_reason.get(reason, 0) + spans


@pytest.fixture
def lost():
    return Counted()


@pytest.fixture
def far_end():
    far_end = FarEnd()
    yield far_end
    far_end.gate.set()


def make(far_end, lost, **limits):
    # A destination of its own: the same sentence is said once a minute.
    limits = Limits(**{"delay": 60, **limits})
    return BatchQueue(lambda: far_end, f"far end {id(far_end)}", limits, lost)


def test_batches(far_end, lost):
    """What is put arrives once, in order, in batches of the size asked for."""
    queue = make(far_end, lost, max_batch=4)
    for number in range(10):
        queue.put(number)

    assert queue.begin_flush()(5)
    assert [number for batch in far_end.batches for number in batch] == list(range(10))
    assert max(map(len, far_end.batches)) <= 4
    assert lost.by_reason == {}
    assert queue.begin_shutdown()(5)
    assert far_end.is_shut_down


def test_a_batch_that_is_not_full_goes_when_it_is_due(far_end, lost):
    """A single span waits for its delay, no longer."""
    queue = make(far_end, lost, delay=0.01)
    queue.put(1)

    assert far_end.called.wait(5)
    queue.begin_shutdown()(5)


def test_no_thread_before_the_first_span(far_end, lost):
    """A process that records nothing has no thread of ours."""
    before = threading.active_count()
    queue = make(far_end, lost)
    assert threading.active_count() == before
    assert queue.begin_flush()(0)


def test_a_far_end_that_hangs_blocks_nothing(far_end, lost, caplog):
    """Put never waits, memory is bounded, flush and shutdown end in time, what is lost is said."""
    far_end.gate.clear()
    queue = make(far_end, lost, max_queue=10, max_batch=5)
    for number in range(5):
        queue.put(number)
    assert far_end.called.wait(5)
    started = time.monotonic()
    for number in range(100):
        queue.put(number)
    assert time.monotonic() - started < 0.5
    assert lost.by_reason == {"queue_overflow": 90}

    assert not queue.begin_flush()(0.05)
    assert not queue.begin_shutdown()(0.05)
    assert time.monotonic() - started < 2
    assert lost.by_reason == {"queue_overflow": 90, "network_error": 15}
    said = [record.getMessage() for record in caplog.records]
    assert sum(int(message.split()[0]) for message in said) == 105
    assert all("did not reach far end" in message for message in said)
    assert len(said) == 2  # at once, and at the end; not one a span


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, ValueError("secret")])
def test_a_batch_that_is_refused_is_counted(far_end, lost, result, caplog, monkeypatch):
    """A batch that the far end refuses is lost once, counted, and the next ones go on."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    far_end.result = result
    queue = make(far_end, lost)
    queue.put(1)
    assert queue.begin_flush()(5)
    far_end.result = SpanExportResult.SUCCESS
    queue.put(2)
    assert queue.begin_flush()(5)

    assert lost.by_reason == {"network_error": 1}
    assert far_end.batches == [[1], [2]]
    assert "secret" not in caplog.text
    queue.begin_shutdown()(5)


def test_a_batch_that_was_not_taken_is_tried_again(far_end, lost):
    """A batch that never reached the far end waits, in order, for as long as it was asked to."""
    far_end.result, far_end.retry_after = SpanExportResult.FAILURE, 0.2
    queue = make(far_end, lost, max_batch=2)
    for number in range(2):
        queue.put(number)
    assert far_end.called.wait(5)
    assert not queue.begin_flush()(0.05)
    assert far_end.batches == [[0, 1]]
    retry_at = far_end.retry_at
    far_end.result, far_end.retry_after = SpanExportResult.SUCCESS, None

    assert queue.begin_flush()(5)
    assert time.monotonic() >= retry_at
    assert far_end.batches == [[0, 1], [0, 1]]
    assert lost.by_reason == {}
    queue.begin_shutdown()(5)


def test_what_comes_after_the_end_is_counted(far_end, lost):
    """A span that ends after the shutdown is counted, not kept."""
    queue = make(far_end, lost)
    queue.begin_shutdown()(1)
    queue.put(1)

    assert lost.by_reason == {"queue_overflow": 1}


def test_whoever_logs_may_put_meanwhile(far_end, lost):
    """While a loss is counted and said, a thread that holds up the log puts what it has."""
    waited = []

    def put_elsewhere(*_):
        thread = threading.Thread(target=queue.begin_flush(), args=(0,))
        thread.start()
        thread.join(5)
        waited.append(thread.is_alive())

    class Handler(logging.Handler):
        emit = put_elsewhere

    logger.addHandler(Handler())
    far_end.result = SpanExportResult.FAILURE
    queue = make(far_end, put_elsewhere)
    queue.put(1)
    assert queue.begin_flush()(5)
    assert waited == [False] * 2

    far_end.gate.clear()
    for number in (2, 3):  # not the same sentence again
        queue.put(number)
    queue.begin_shutdown()(0.1)
    assert waited == [False] * 4


def test_a_garbage_collection_in_the_start_of_the_thread(far_end, lost, monkeypatch):
    """A span that ends while the thread starts, wherever that comes from, starts no other."""
    start_thread, started = _queue.start_thread, []

    def start(*args):
        started.append(args)
        if len(started) == 1:
            queue.put(2)
        return start_thread(*args)

    monkeypatch.setattr(_queue, "start_thread", start)
    queue = make(far_end, lost)
    queue.put(1)

    assert queue.begin_shutdown()(5)
    assert len([args for args in started if args[1] == "otel-sentry.batches"]) == 1
    assert sorted(number for batch in far_end.batches for number in batch) == [1, 2]


class Stubborn(FarEnd):
    """An exporter that does not end."""

    def __init__(self, end):
        super().__init__()
        self.shutdown = end


def end_together(queues, monkeypatch):
    monkeypatch.setattr(_exit, "live_queues", lambda: queues)
    _exit.end_together()


def end_by_provider(queues, _monkeypatch):
    FanOut([Batches(queue) for queue in queues]).shutdown()


@pytest.mark.parametrize("end_all", [end_together, end_by_provider])
def test_an_exporter_that_does_not_end(far_end, lost, monkeypatch, caplog, end_all):
    """An exporter whose end raises or hangs costs the others nothing, and no more time."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    over = threading.Event()
    stubborn = [Stubborn(lambda: 1 / 0), Stubborn(lambda: over.wait(30))]
    queues = [make(one, lost) for one in (*stubborn, far_end)]
    for queue in queues:
        queue.put(1)
    started = time.monotonic()
    end_all(queues, monkeypatch)
    took = time.monotonic() - started
    over.set()

    assert [one.batches for one in (*stubborn, far_end)] == [[[1]]] * 3
    assert far_end.is_shut_down
    assert lost.by_reason == {}
    assert took < 10
    assert "ZeroDivisionError" in caplog.text


def test_metrics_that_do_not_end(far_end, lost, monkeypatch, caplog):
    """Metrics whose end raises or hangs cost the backends nothing."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    over = threading.Event()

    def hang(**_):
        over.wait(30)
        raise ValueError

    monkeypatch.setattr(_exit, "_metrics_shutdown", lambda: hang)
    queue = make(far_end, lost)
    queue.put(1)
    end_together([queue], monkeypatch)
    assert far_end.batches == [[1]]
    assert far_end.is_shut_down

    over.set()
    end_together([make(far_end, lost)], monkeypatch)
    assert "ValueError" in caplog.text


def test_an_end_without_threads(far_end, lost, monkeypatch):
    """Where no thread can be started any more, all is sent and ended in the one that there is."""
    monkeypatch.setattr("otel_sentry._background.threading.Thread.start", no_thread)
    queue = make(far_end, lost)
    queue.put(1)

    assert queue.begin_shutdown()(5)
    assert far_end.batches == [[1]]
    assert far_end.is_shut_down


def no_thread(_thread):
    msg = "can't start new thread"
    raise RuntimeError(msg)


def test_a_forked_child_sends_its_own_alone(lost):
    """A child has its own exporter and sends what was put there; the parent's is not sent twice."""
    read, write = os.pipe()
    made = []

    class Pipe(FarEnd):
        def export(self, batch):
            os.write(write, f"{len(made)}:{batch} ".encode())
            return SpanExportResult.SUCCESS

    def make_exporter():
        made.append(None)
        return Pipe()

    queue = BatchQueue(make_exporter, "the far end", Limits(delay=60), lost)
    queue.put("parent")
    child = os.fork()
    if child == 0:
        queue.put("child")
        queue.begin_flush()(5)
        os._exit(0)
    os.waitpid(child, 0)
    assert queue.begin_flush()(5)

    sent = set(os.read(read, 1000).decode().split())
    assert sent == {"1:['parent']", "2:['child']"}
    queue.begin_shutdown()(5)


@pytest.mark.parametrize(
    ("environ", "expected", "warnings"),
    [
        ({}, (2048, 512, 5.0), 0),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, (100, 100, 5.0), 0),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2000"}, (2048, 1000, 5.0), 0),
        ({"OTEL_BSP_SCHEDULE_DELAY": "50"}, (2048, 512, 0.05), 0),
        ({"OTEL_BSP_SCHEDULE_DELAY": "0", "OTEL_BSP_MAX_QUEUE_SIZE": "x"}, (2048, 512, 5.0), 2),
    ],
)
def test_limits(environ, expected, warnings, caplog):
    """OTEL_BSP_* are read; a bad value warns and the default stands."""
    limits = Limits.from_env(environ, max_batch=1000)

    assert (limits.max_queue, limits.max_batch, limits.delay) == expected
    assert len(caplog.records) == warnings
