from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from sentry_relay.processing import StoreNormalizer

from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import GUNICORN, by_name, run_service

NO_INTEGRATIONS = """
import functools, sentry_sdk
sentry_sdk.init = functools.partial(sentry_sdk.init, auto_enabling_integrations=False)
from opentelemetry.instrumentation.auto_instrumentation import initialize
initialize()
import uvicorn
uvicorn.run("service:app", port={port})
"""


@pytest.fixture(scope="module")
def receiver():
    """Return the far end of the module's service."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def service(receiver, tmp_path_factory):
    """Return the service under uvicorn."""
    with run_service(tmp_path_factory.mktemp("service"), receiver) as service:
        yield service


@pytest.fixture
def transaction(receiver):
    """Return the only transaction of a name, once it has arrived."""

    def wait(name, count=1):
        receiver.wait_for(lambda seen: len(by_name(seen, name)) >= count, 15, name)
        found = by_name(receiver, name)
        assert len(found) == count
        return found[0]

    return wait


def descriptions(event):
    """Return op and description of each span."""
    return [(span["op"], span["description"]) for span in event["spans"]]


def test_thread_pool_endpoints(service, transaction):
    """What a sync endpoint does in a worker thread is in its transaction."""
    service.get("/items/3")

    assert descriptions(transaction("GET /items/{item_id}")) == [("db", "SELECT ?")]


def test_background_task(service, transaction):
    """A background task that outlives its request is a continuation of it."""
    service.get("/background")

    request = transaction("GET /background")
    task = transaction("later")
    trace = task["contexts"]["trace"]
    assert trace["trace_id"] == request["contexts"]["trace"]["trace_id"]
    assert trace["parent_span_id"] == request["contexts"]["trace"]["span_id"]
    assert ("db", "SELECT ?") in descriptions(task)


def test_fire_and_forget(service, receiver, transaction):
    """Queries of a task that outlives its request all arrive, as continuations."""
    service.get("/forget")

    trace_id = transaction("GET /forget")["contexts"]["trace"]["trace_id"]

    def late(seen):
        return [
            event
            for event in seen.transactions()
            if event["contexts"]["trace"]["trace_id"] == trace_id
            and event["contexts"]["trace"]["op"] == "db"
        ]

    receiver.wait_for(lambda seen: len(late(seen)) >= 3, 15, "three queries")
    assert [event["transaction"] for event in late(receiver)] == ["SELECT"] * 3


def test_streaming_response(service, transaction):
    """What happens while a response is streamed is in its transaction."""
    service.get("/stream")

    event = transaction("GET /stream")
    assert descriptions(event) == [("db", "SELECT ?")]
    assert event["contexts"]["trace"]["status"] == "ok"


def test_websocket(service, transaction):
    """A websocket is a transaction named by its route."""
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{service.port}/ws/lobby") as socket:
        socket.send("hello ")
        assert socket.recv() == "hello lobby"

    event = transaction("/ws/{room}")
    assert event["contexts"]["trace"]["op"] == "websocket.server"
    assert event["transaction_info"]["source"] == "route"


def test_mounted_application(service, transaction):
    """A request to a mounted application has its whole route."""
    service.get("/sub/deep/7")

    event = transaction("GET /sub/deep/{x}")
    assert event["transaction_info"]["source"] == "route"
    assert ("db", "SELECT ?") in descriptions(event)


def test_error_in_a_mounted_application(service, receiver, transaction):
    """An exception in a mounted application bears the name of its transaction."""
    service.get("/sub/boom")

    event = transaction("GET /sub/boom")
    errors = receiver.wait_for(
        lambda seen: [e for e in seen.errors() if "exception" in e], 10, "the error"
    )
    assert {error["transaction"] for error in errors} == {"GET /sub/boom"}
    assert {error["contexts"]["trace"]["trace_id"] for error in errors} == {
        event["contexts"]["trace"]["trace_id"]
    }


def test_unmatched_request(service, transaction):
    """A request without a route is named by its path, with source url."""
    assert service.get("/nowhere?token=abc")[0] == 404

    event = transaction("GET /nowhere")
    assert event["transaction_info"]["source"] == "url"
    assert event["contexts"]["trace"]["status"] == "not_found"


def test_own_traffic(service, transaction):
    """A request to the endpoint that events go to is no span, whoever makes it."""
    service.get("/own")

    assert descriptions(transaction("GET /own")) == []


def test_log_error(service, receiver, transaction):
    """A logged error is an event, linked to the span it was logged in."""
    service.get("/log")

    event = transaction("GET /log")
    receiver.wait_for(lambda seen: [e for e in seen.errors() if "logentry" in e], 10, "log")
    (error,) = [e for e in receiver.errors() if "logentry" in e]
    assert error["contexts"]["trace"]["span_id"] == event["contexts"]["trace"]["span_id"]


def test_concurrent_scopes(service, receiver):
    """Tags and user of a request reach its transaction and no other."""
    names = [f"user{number}" for number in range(20)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: service.get(f"/tags/{name}"), names))
    service.get("/untagged")
    receiver.wait_for(lambda seen: len(by_name(seen, "GET /tags/{name}")) == 20, 15)
    receiver.wait_for(lambda seen: by_name(seen, "GET /untagged"), 15)

    for event in by_name(receiver, "GET /tags/{name}"):
        name = event["request"]["url"].rpartition("/")[2]
        assert event["tags"] == {"name": name}
        assert event["user"] == {"id": name}
    (untagged,) = by_name(receiver, "GET /untagged")
    assert not untagged.get("tags")
    assert not untagged.get("user")


def test_upstream_trace_is_continued(service, transaction):
    """A trace that a Sentry SDK started continues here, sampling context included."""
    trace_id, parent = "c" * 32, "d" * 16
    service.get(
        "/pid",
        sentry_trace=f"{trace_id}-{parent}-1",
        baggage=f"sentry-trace_id={trace_id},sentry-sample_rate=0.25,sentry-release=web%401",
    )

    trace = transaction("GET /pid")["contexts"]["trace"]
    assert (trace["trace_id"], trace["parent_span_id"]) == (trace_id, parent)


def test_relay_takes_every_event(service, receiver, transaction):
    """Whatever the module's tests made, Sentry's own normalisation accepts it."""
    service.get("/thread")  # no other test does: each expects one transaction of its name
    transaction("GET /thread")
    for event in (*receiver.transactions(), *receiver.errors()):
        assert (
            not StoreNormalizer(project_id=1)
            .normalize_event(json.loads(json.dumps(event)))
            .get("errors")
        )


def test_scopes_without_sentrys_integrations(tmp_path):
    """Requests do not share tags either where sentry-sdk's integrations are switched off."""
    with (
        Receiver() as receiver,
        run_service(tmp_path, receiver, "python", "-c", NO_INTEGRATIONS, launcher=False) as service,
    ):
        for path in ("/tags/ada", "/untagged", "/tags/bob", "/untagged"):
            service.get(path)
        receiver.wait_for(lambda seen: len(seen.transactions()) >= 4, 15)

    tags = [(e["transaction"], (e.get("tags") or {}).get("name")) for e in receiver.transactions()]
    assert tags == [
        ("GET /tags/{name}", "ada"),
        ("GET /untagged", None),
        ("GET /tags/{name}", "bob"),
        ("GET /untagged", None),
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_work(tmp_path, number):
    """Uvicorn ends by raising its signal again; what was queued is sent all the same."""
    with Receiver() as receiver:
        with run_service(tmp_path, receiver) as service:
            service.get("/items/3")
            service.child.process.send_signal(number)
            service.child.process.wait(20)

        assert [e["transaction"] for e in receiver.transactions()] == ["GET /items/{item_id}"]


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_gunicorn(tmp_path, preload):
    """Each request to any of gunicorn's workers is one transaction, none is sent twice."""
    with Receiver() as receiver:
        with run_service(tmp_path, receiver, *GUNICORN, "-w", "3", *preload) as service:
            answers = []
            # The kernel chooses the worker; it may choose the same one for a while.
            while len({pid for _, pid in answers}) < 2 and len(answers) < 2000:
                with ThreadPoolExecutor(8) as pool:
                    answers += pool.map(lambda _: service.get("/pid"), range(60))
            service.child.process.terminate()
            service.child.process.wait(30)

        assert {status for status, _ in answers} == {200}
        spans = [e["contexts"]["trace"]["span_id"] for e in receiver.transactions()]
        assert len(spans) == len(set(spans)) == len(answers)
        assert len({pid for _, pid in answers}) > 1
