from __future__ import annotations

import os
import ssl
import threading
import time
import tracemalloc
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
import sentry_sdk
from sentry_sdk.attachments import Attachment
from sentry_sdk.envelope import Envelope

from otel_sentry import _delivery, transport
from otel_sentry._delivery import DeliveryWorker
from otel_sentry.cli.tail.receiver import Receiver, Response
from otel_sentry.transport import transport_class
from tests.faults.far_end import TAKE, FarEnd, Mode, make_certificate
from tests.forks import forks


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
    """An error that comes last is sent at once, although a transaction hangs and others wait."""
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
        receiver.wait_for(lambda seen: seen.errors(), 10)
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
    monkeypatch.setattr(_delivery, "MAX_QUEUED_TRANSACTIONS", 5)
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
    monkeypatch.setattr(_delivery, "_IDLE_SECONDS", 0.05)
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


@forks
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


def lost(receiver):
    """Return what client reports say was lost."""
    reports = [item.fields for item in receiver.items if item.kind == "client_report"]
    return {
        (entry["category"], entry["reason"]): entry["quantity"]
        for report in reports
        for entry in report["discarded_events"]
    }


def test_the_queue_is_bounded_in_bytes(make_client, monkeypatch):
    """A few large transactions fill the queue as many small ones do."""
    monkeypatch.setattr(_delivery, "MAX_QUEUED_BYTES", 5 * len(transaction(1).items[0].get_bytes()))
    gate = threading.Event()

    def respond(_request):
        gate.wait(10)
        return Response()

    with Receiver(respond=respond) as receiver:
        client = make_client(receiver.dsn, connections=1)
        client.transport.capture_envelope(transaction(0))
        receiver.wait_for(lambda seen: seen.transactions(), 10)
        for number in range(1, 10):
            client.transport.capture_envelope(transaction(number))
        assert client.transport._worker.full()
        gate.set()
        assert client.transport.flush(10)

        assert len(receiver.transactions()) == 6
        assert lost(receiver)["transaction", "queue_overflow"] == 4


def test_what_a_lost_report_said_is_reported_again(make_client):
    """A client report that is refused itself, by whatever status, is not forgotten."""
    statuses = [500, 429, 413, 200]

    def respond(_request):
        return Response(statuses.pop(0), {"Retry-After": "0"})

    with Receiver(respond=respond) as receiver:
        client = make_client(receiver.dsn)
        client.transport.record_lost_event("sample_rate", "transaction", quantity=7)
        for _ in range(3):
            assert client.transport.flush(5)
            client.transport._disabled_until.clear()
            assert client.transport._discarded_events == {("transaction", "sample_rate"): 7}
        assert client.transport.flush(5)

        assert client.transport._discarded_events == {}
        assert lost(receiver) == {("transaction", "sample_rate"): 7}


@pytest.mark.parametrize(
    ("header", "value"),
    [("X-Sentry-Rate-Limits", "9" * 30 + "::key"), ("Retry-After", "soon"), ("X-Other", "")],
)
def test_a_limit_that_cannot_be_read_is_a_minute(make_client, header, value):
    """An answer of 429 stops the next request, whatever is written in its headers."""
    with Receiver(respond=lambda _: Response(429, {header: value})) as receiver:
        client = make_client(receiver.dsn)
        client.transport.capture_envelope(transaction(0))
        assert client.transport._worker.flush(5)
        client.transport.capture_envelope(transaction(1))
        assert client.transport._worker.flush(5)

        assert len(receiver.transactions()) == 1


def test_rate_limits_are_bounded(make_client):
    """A far end that names ever new categories makes nothing grow."""
    names = ";".join(f"category{number}" for number in range(500))
    with Receiver(
        respond=lambda _: Response(200, {"X-Sentry-Rate-Limits": f"60:{names}:key"})
    ) as r:
        client = make_client(r.dsn)
        client.transport.capture_envelope(transaction(0))
        assert client.transport.flush(5)

        assert len(client.transport._disabled_until) <= transport._MAX_RATE_LIMITS


def test_an_endless_answer_is_not_read_to_its_end(make_client):
    """Of an answer of 50 MB a small part is read, and sending goes on over another connection."""
    with Receiver(respond=lambda _: Response(500, body=b"x" * 50_000_000)) as receiver:
        client = make_client(receiver.dsn)
        tracemalloc.start()
        client.transport.capture_envelope(transaction(0))
        client.transport.capture_envelope(transaction(1))
        assert client.transport._worker.flush(20)
        peak = max(
            stat.size
            for stat in tracemalloc.take_snapshot()
            .filter_traces([tracemalloc.Filter(True, "*http/client.py")])
            .statistics("filename")
            or [SimpleNamespace(size=0)]
        )
        tracemalloc.stop()

        assert len(receiver.transactions()) == 2
        assert peak < 5_000_000


def test_sending_goes_on_where_no_thread_can_be_started(make_client, monkeypatch):
    """While the interpreter shuts down a flush sends in its own thread, within its time."""
    monkeypatch.setattr(_delivery, "start_thread", lambda *_: None)
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        client.transport.capture_envelope(transaction(0))
        client.capture_event({"message": "last words"})

        assert client.transport.flush(5) is True
        assert len(receiver.transactions()) == len(receiver.errors()) == 1

    hung = threading.Event()
    with Receiver(respond=lambda _: hung.wait(20) and None) as receiver:
        client = make_client(receiver.dsn)
        client.transport.capture_envelope(transaction(0))
        started = time.monotonic()
        client.transport.flush(0.5)
        assert time.monotonic() - started < 10
        hung.set()


def test_a_stopped_transport_counts_what_comes(make_client):
    """After its end nothing waits for ever in the queue."""
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        client.transport.kill()
        client.transport.capture_envelope(transaction(0))

        assert client.transport._discarded_events["transaction", "queue_overflow"] == 1
        assert client.transport.flush(1) is True


def test_what_cannot_be_written_is_counted(make_client):
    """An item that fails to become bytes is counted as our fault, and stops nothing."""
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        envelope = Envelope()
        envelope.add_event({"message": float("nan")})
        client.transport.capture_envelope(envelope)
        client.transport.capture_envelope(transaction(0))
        assert client.transport.flush(5)

        assert lost(receiver) == {("error", "internal_sdk_error"): 1}


def test_what_cannot_be_written_takes_no_counts_along(make_client):
    """What was lost before is reported though the report was to go with what cannot be written."""
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        client.transport.record_lost_event("sample_rate", "transaction", quantity=7)
        client.transport._last_client_report_sent = 0.0  # long ago: the next envelope takes it
        forever = datetime.max.replace(tzinfo=timezone.utc)
        client.transport._disabled_until["attachment"] = forever
        envelope = Envelope()
        envelope.add_event({"message": float("nan")})
        envelope.add_item(Attachment(bytes=b"xxx", filename="a").to_envelope_item())
        client.transport.capture_envelope(envelope)
        assert client.transport.flush(5)

        assert lost(receiver) == {
            ("transaction", "sample_rate"): 7,
            ("error", "internal_sdk_error"): 1,
            ("attachment", "ratelimit_backoff"): 3,
        }


def test_what_is_attached_to_a_transaction(make_client, monkeypatch):
    """A transaction with an attachment waits for errors, and takes its place in bytes."""
    monkeypatch.setattr(_delivery, "start_thread", lambda *_: None)
    monkeypatch.setattr(_delivery, "MAX_QUEUED_BYTES", 3000)
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        for _ in range(5):
            envelope = transaction()
            envelope.add_item(Attachment(bytes=b"x" * 1000, filename="a").to_envelope_item())
            client.transport.capture_envelope(envelope)
        client.capture_event({"message": "first"})
        assert client.transport.flush(5)

        kinds = [item.kind for item in receiver.items]
        assert kinds[:2] == ["error", "transaction"]
        assert kinds.count("transaction") == kinds.count("attachment") == 2
        assert lost(receiver)["transaction", "queue_overflow"] == 3


@pytest.mark.parametrize("others", [False, True])
def test_the_time_that_all_share_at_the_end(make_client, monkeypatch, others):
    """It is the main thread's: one that outlives it, and flushes, has its own time each time."""
    ended = threading.Thread(target=int)
    ended.start()
    ended.join()
    monkeypatch.setattr(threading, "main_thread", lambda: ended)
    if not others:
        monkeypatch.setattr(threading, "current_thread", lambda: ended)
    given = []
    with Receiver() as receiver:
        client = make_client(receiver.dsn)
        client.transport.before_flush = given.append
        client.transport.flush(0.0)
        client.transport.flush(60.0)

    assert given == ([0.0, 60.0] if others else [transport._LAST_SECONDS] * 2)


def test_who_replaces_a_transport_reports_what_it_loses(make_client):
    """What was counted, what waits when it ends, and what is under way then and fails later."""
    gate, counted = threading.Event(), {}

    def respond(request):
        if b'"t0"' not in request.body:
            return Response()
        gate.wait(10)
        return Response(500)

    with Receiver(respond=respond) as receiver:
        old, new = make_client(receiver.dsn, 1).transport, make_client(receiver.dsn).transport
        old.record_lost_event("sample_rate", "transaction", quantity=7)
        old.capture_envelope(transaction(0))
        receiver.wait_for(lambda seen: seen.transactions(), 10)
        for number in range(1, 4):
            old.capture_envelope(transaction(number))
        old.hand_over(new)
        old.kill()
        gate.set()
        deadline = time.monotonic() + 10
        while old._worker.is_alive and time.monotonic() < deadline:
            time.sleep(0.01)
        old.capture_envelope(transaction(4))
        assert new.flush(5)
        counted = lost(receiver)

    assert old._discarded_events == {}
    assert counted["transaction", "sample_rate"] == 7
    assert counted["transaction", "network_error"] == 1 + 3
    assert counted["transaction", "queue_overflow"] == 1


@pytest.fixture
def secure(tmp_path):
    """Return a far end that speaks TLS, and its certificate."""
    certificate = tmp_path / "trusted.pem"
    make_certificate(certificate)
    with FarEnd(certificate) as far_end:
        yield far_end, certificate


def test_certificates_are_read_once(make_client, secure, monkeypatch):
    """The list of trusted certificates, 18 ms to read, is not read for each new connection."""
    far_end, certificate = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    read = []
    original = ssl.SSLContext.load_verify_locations

    def load(context, *files):
        read.append(files)
        original(context, *files)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    client = make_client(far_end.dsn)
    far_end.become(Mode("drop"))
    for number in range(20):
        client.transport.capture_envelope(transaction(number))
    client.transport.flush(10)
    assert far_end.connections >= 20  # none was used again
    far_end.become(TAKE)
    client.transport.capture_envelope(transaction())

    assert client.transport.flush(10)
    assert far_end.kinds()["transaction"] == 1
    assert far_end.lost("transaction") == 20
    assert len(read) == 1


def test_a_certificate_of_another_host(make_client, secure, tmp_path, monkeypatch):
    """A certificate that is trusted, but for another host, is not accepted."""
    far_end, _ = secure
    other = tmp_path / "other.pem"
    make_certificate(other, "127.0.0.2")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    far_end.present(other)
    client = make_client(far_end.dsn)
    client.transport.capture_envelope(transaction())
    client.transport.flush(5)

    assert far_end.requests == 0
    assert client.transport._discarded_events["transaction", "network_error"] == 1


def test_a_list_of_certificates_that_cannot_be_read(make_client, secure, tmp_path, monkeypatch):
    """Without the list nothing is sent, and all is counted; once it is there, it is used."""
    far_end, certificate = secure
    late = tmp_path / "late.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(late))
    client = make_client(far_end.dsn)
    client.transport.capture_envelope(transaction(1))
    client.transport.flush(5)
    assert far_end.requests == 0

    late.write_text(certificate.read_text())
    client.transport.capture_envelope(transaction(2))
    assert client.transport.flush(5)
    assert far_end.kinds()["transaction"] == 1
    assert far_end.lost("transaction") == 1
