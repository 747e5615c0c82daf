from __future__ import annotations

import os
import threading
import time

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope

from otel_sentry import transport
from otel_sentry.cli.tail.receiver import Receiver, Response
from otel_sentry.transport import DeliveryWorker, transport_class


@pytest.fixture
def make_client():
    """Return a function that makes a client with our transport."""
    clients = []

    def make(dsn, connections=4):
        client = sentry_sdk.Client(
            dsn=dsn, transport=transport_class(connections), default_integrations=False
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close(timeout=0)


def transaction(number=0):
    """Return an envelope with a transaction."""
    envelope = Envelope()
    envelope.add_transaction(
        {"type": "transaction", "transaction": f"t{number}", "spans": [], "event_id": "1" * 32}
    )
    return envelope


def test_everything_arrives(make_client):
    """Errors and transactions arrive, and flush tells the truth about it."""
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        for number in range(200):
            client.transport.capture_envelope(transaction(number))
        client.capture_event({"message": "hello"})

        assert client.transport.flush(10) is True
        assert len(receiver.transactions()) == 200
        assert len(receiver.errors()) == 1


def test_a_distant_far_end_is_asked_over_several_connections(make_client):
    """With 50 ms for each answer far more is delivered than one connection could."""
    busy = threading.Lock()
    at_once, most = [0], [0]

    def respond(_request):
        with busy:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.05)
        with busy:
            at_once[0] -= 1
        return Response()

    with Receiver(respond=respond) as receiver:
        client = make_client(receiver.dsn, connections=8)
        for number in range(120):
            client.transport.capture_envelope(transaction(number))

        # One connection needs six seconds.
        assert client.transport.flush(5) is True
        assert len(receiver.transactions()) == 120
        assert 2 <= most[0] <= 8


def test_errors_go_first(make_client):
    """An error that comes last is sent before the transactions that wait."""
    gate = threading.Event()

    def respond(_request):
        gate.wait(10)
        return Response()

    with Receiver(respond=respond) as receiver:
        client = make_client(receiver.dsn, connections=1)
        for number in range(10):
            client.transport.capture_envelope(transaction(number))
        receiver.wait_for(lambda seen: seen.transactions(), 10)
        client.capture_event({"message": "urgent"})
        gate.set()
        assert client.transport.flush(10)

        kinds = [item.kind for item in receiver.items if item.kind in {"transaction", "error"}]
        assert kinds.index("error") == 1


def test_one_hung_request_does_not_hold_up_the_rest(make_client):
    """While one request hangs the others are sent by another connection."""
    hung = threading.Event()

    def respond(request):
        if b'"t0"' in request.body:
            hung.wait(20)
        return Response()

    with Receiver(respond=respond) as receiver:
        client = make_client(receiver.dsn)
        for number in range(20):
            client.transport.capture_envelope(transaction(number))
        receiver.wait_for(lambda seen: len(seen.transactions()) == 20, 5, "all twenty")

        assert client.transport.flush(0.2) is False
        hung.set()
        assert client.transport.flush(5) is True


def test_overflow_is_counted(make_client, monkeypatch):
    """What does not fit into the queue is counted, spans included, and reported afterwards."""
    monkeypatch.setattr(transport, "MAX_QUEUED_TRANSACTIONS", 5)
    gate = threading.Event()

    def respond(_request):
        gate.wait(10)
        return Response()

    with Receiver(respond=respond) as receiver:
        client = make_client(receiver.dsn, connections=1)
        client.transport.capture_envelope(transaction(0))
        receiver.wait_for(lambda seen: seen.transactions(), 10)
        for number in range(1, 11):
            client.transport.capture_envelope(transaction(number))
        gate.set()
        assert client.transport.flush(10)

        assert len(receiver.transactions()) == 6
        reports = [i.fields for i in receiver.items if i.kind == "client_report"]
        lost = {
            (entry["category"], entry["reason"]): entry["quantity"]
            for report in reports
            for entry in report["discarded_events"]
        }
        assert lost == {("transaction", "queue_overflow"): 5, ("span", "queue_overflow"): 5}


def test_a_rate_limit_is_honoured(make_client):
    """After a rate limit of transactions errors still go, transactions are counted."""

    def respond(_request):
        return Response(429, {"X-Sentry-Rate-Limits": "60:transaction:key"})

    with Receiver(respond=respond) as receiver:
        client = make_client(receiver.dsn)
        client.transport.capture_envelope(transaction(0))
        assert client.transport.flush(5)
        client.transport.capture_envelope(transaction(1))
        client.capture_event({"message": "still"})
        assert client.transport.flush(5)

        assert [event["transaction"] for event in receiver.transactions()] == ["t0"]
        assert len(receiver.errors()) == 1


def test_a_refused_connection_is_counted(make_client):
    """With nobody at the far end flush ends, and what was lost is counted."""
    client = make_client("http://public@127.0.0.1:9/1")
    client.transport.capture_envelope(transaction())

    # The worker's, not the transport's: that one sends the counts away as well.
    assert client.transport._worker.flush(5)
    assert client.transport._discarded_events[("transaction", "network_error")] == 1


def test_flush_asks_for_what_is_being_built(make_client):
    """sentry_sdk.flush() waits for the assembler, too."""
    asked = []
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        client.transport.before_flush = asked.append
        client.flush(timeout=3)

    assert asked == [3]


def test_threads_end_when_there_is_nothing_to_do(monkeypatch):
    """Sender threads go after a while without work, and come back with it."""
    monkeypatch.setattr(transport, "_IDLE_SECONDS", 0.05)
    worker = DeliveryWorker(4)
    done = threading.Event()
    assert worker.submit(done.set)
    assert done.wait(5)
    deadline = time.monotonic() + 5
    while worker.is_alive and time.monotonic() < deadline:
        time.sleep(0.01)

    assert not worker.is_alive
    again = threading.Event()
    worker.submit(again.set)
    assert again.wait(5)
    worker.kill()


def test_a_send_that_fails_stops_nothing():
    """An exception in one send does not end the thread's work."""
    worker = DeliveryWorker(1)
    done = threading.Event()
    worker.submit(lambda: 1 / 0)
    worker.submit(done.set)

    assert done.wait(5)
    assert worker.flush(5)
    worker.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_uses_no_connection_of_its_parent(make_client):
    """After a fork the child sends over a connection of its own, and nothing of the parent's."""
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        client.transport.capture_envelope(transaction(1))
        assert client.transport.flush(5)
        pool, worker = client.transport._pool, client.transport._worker
        pid = os.fork()
        if pid == 0:
            fresh = client.transport._pool is not pool and client.transport._worker is not worker
            client.transport.capture_envelope(transaction(2 if fresh else 3))
            client.transport.flush(5)
            os._exit(0)
        os.waitpid(pid, 0)
        client.transport.capture_envelope(transaction(4))
        assert client.transport.flush(5)

        assert [e["transaction"] for e in receiver.transactions()] == ["t1", "t2", "t4"]
