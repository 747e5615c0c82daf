"""What is submitted is sent soon, whichever of the sender threads are idle, hang or just end."""

from __future__ import annotations

import threading
import time

import pytest

from otel_sentry import _delivery
from otel_sentry._delivery import DeliveryWorker


def eventually(condition, seconds=10):
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def make_worker():
    """Return a function that makes a worker with so many idle threads."""
    workers = []

    def make(idle, connections=16):
        worker = DeliveryWorker(connections)
        workers.append(worker)
        meet = threading.Barrier(idle)
        for _ in range(idle):
            worker.submit(lambda: meet.wait(10))
        eventually(lambda: len(worker._waiting) == worker._idle == idle)
        return worker

    yield make
    for worker in workers:
        worker.kill()


@pytest.fixture
def hang():
    """Return a send that hangs as long as the test runs."""
    over = threading.Event()
    yield lambda: over.wait(30)
    over.set()


class TimeIsOver(threading.Condition):
    """Something comes when the time of a wait is over, and the lock not yet had back."""

    def __init__(self, lock, *comes):
        super().__init__(lock)
        self._comes = list(comes)

    def wait(self, timeout=None):
        self._comes.pop(0)()
        return False


@pytest.mark.parametrize("urgent", [True, False])
def test_what_comes_as_a_thread_goes(urgent):
    """What is submitted as the idle time of the last thread has just run out is sent by it."""
    worker = DeliveryWorker(1)
    worker._threads = worker._idle = 1  # this one
    wake = TimeIsOver(worker._lock, lambda: worker.submit(int, urgent=urgent))

    assert worker._take(wake) == (urgent, int)


@pytest.mark.parametrize("urgent", [True, False])
def test_two_at_once_wake_two_threads(make_worker, hang, urgent):
    """Where two come before a thread has woken, the second does not wait behind a hung first."""
    worker, sent = make_worker(idle=2), threading.Event()
    with worker._lock:
        if urgent:
            worker.submit(hang)
        worker.submit(sent.set, urgent=urgent)
        if not urgent:
            worker.submit(hang)

    assert sent.wait(5)


def test_somebody_watches_while_others_hang(make_worker, hang):
    """The thread that watches a transaction is called to an error: another one watches then."""
    worker, sent = make_worker(idle=3), threading.Event()
    worker.submit(hang, urgent=False)
    eventually(lambda: len(worker._waiting) == worker._idle == 2)
    with worker._lock:
        worker.submit(sent.set, urgent=False)
        worker.submit(hang)

    assert sent.wait(5)


def test_who_watches_stays(make_worker, hang):
    """A thread that has watched in vain is there for the next one."""
    worker = make_worker(idle=2)
    worker.submit(hang, urgent=False)
    eventually(lambda: len(worker._waiting) == worker._idle == 1)
    before = worker._threads
    for _ in range(3):
        sent = threading.Event()
        worker.submit(sent.set, urgent=False)
        assert sent.wait(5)

    assert worker._threads == before


def test_who_watches_takes_no_turns(make_worker, monkeypatch):
    """A thread that has watched in vain lets the one that has sent go on: its caches are warm."""
    monkeypatch.setattr(_delivery, "_LAG_SECONDS", 0.3)
    worker, senders = make_worker(idle=2), []

    def send():
        senders.append(threading.get_ident())

    with worker._lock:
        worker.submit(lambda: eventually(lambda: worker._watching), urgent=False)
        worker.submit(send, urgent=False)
    for sent in range(1, 4):
        eventually(lambda: not worker._watching and len(worker._waiting) == worker._idle == 2)
        assert len(senders) == sent
        worker.submit(send, urgent=False)
        eventually(lambda sent=sent: len(senders) > sent)

    assert len(set(senders)) == 1


def test_no_thread_is_woken_in_vain(make_worker):
    """A burst of transactions wakes one thread to send, and at most one to watch."""
    worker = make_worker(idle=5)
    with worker._lock:
        for _ in range(20):
            worker.submit(lambda: None, urgent=False)
        assert len(worker._waiting) == 4

    assert worker.flush(5)


def test_a_garbage_collection_in_the_start_of_a_thread(monkeypatch):
    """What is submitted while the first thread starts, by whatever runs there, starts no other."""
    start_thread, nested = _delivery.start_thread, threading.Event()
    worker = DeliveryWorker(1)

    def start(*args):
        if not nested.is_set():
            nested.set()
            worker.submit(lambda: None)
        return start_thread(*args)

    monkeypatch.setattr(_delivery, "start_thread", start)
    worker.submit(lambda: None, urgent=False)
    threads = worker._threads

    assert worker.flush(5)
    assert threads == 1
    worker.kill()


def test_a_callback_holds_up_nobody(make_worker, hang):
    """While the callback of a flush that takes long runs, others submit what they have."""
    worker = make_worker(idle=1)
    worker.submit(hang)
    called = []

    def callback(pending, timeout):
        thread = threading.Thread(target=worker.submit, args=(lambda: None,))
        thread.start()
        thread.join(5)
        called.append((pending, timeout, thread.is_alive()))

    worker.flush(0.3, callback)

    assert called == [(1, 0.3, False)]


def test_the_end_of_a_flush_is_no_limit_to_what_comes_after(monkeypatch):
    """Once threads can be started again, a request has its whole time again."""
    seconds, start_thread = [], _delivery.start_thread
    monkeypatch.setattr(_delivery, "start_thread", lambda *_: None)
    worker = DeliveryWorker(1)
    worker.submit(lambda: seconds.append(worker.seconds_left()))
    assert worker.flush(5)
    monkeypatch.setattr(_delivery, "start_thread", start_thread)
    worker.submit(lambda: seconds.append(worker.seconds_left()))
    assert worker.flush(5)
    worker.kill()

    assert 0 < seconds[0] <= 5
    assert seconds[1] is None


def test_the_last_thread_stays_at_the_end(monkeypatch):
    """Once the main thread has returned, a new one may not start: the last one goes on waiting."""
    worker = DeliveryWorker(1)
    worker._threads = worker._idle = 1  # this one
    assert worker._take(TimeIsOver(worker._lock, int)) is None

    ended = threading.Thread(target=int)
    ended.start()
    ended.join()
    monkeypatch.setattr(threading, "main_thread", lambda: ended)
    worker._threads = worker._idle = 1
    wake = TimeIsOver(worker._lock, int, int, lambda: worker.submit(int))
    assert worker._take(wake) == (True, int)
