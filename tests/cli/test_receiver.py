from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
import urllib.request
import zlib

import brotli
import pytest
import sentry_sdk
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_sentry.cli.tail.receiver import Item, PortTakenError, Receiver, Response

ENVELOPE = "/api/1/envelope/"

OTLP_JSON = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]},
            "scopeSpans": [
                {
                    "scope": {"name": "library", "version": "1"},
                    "spans": [
                        {
                            "traceId": "0AF7651916CD43DD8448EB211C80319C",
                            "spanId": "b7ad6b7169203331",
                            "name": "GET /",
                            "kind": 2,
                            "startTimeUnixNano": "1000000000",
                            "endTimeUnixNano": "3000000000",
                            "attributes": [
                                {"key": "n", "value": {"intValue": "7"}},
                                {"key": "d", "value": {"doubleValue": 0.5}},
                                {
                                    "key": "list",
                                    "value": {"arrayValue": {"values": [{"boolValue": True}]}},
                                },
                                {
                                    "key": "map",
                                    "value": {
                                        "kvlistValue": {
                                            "values": [{"key": "k", "value": {"stringValue": "v"}}]
                                        }
                                    },
                                },
                                {"key": "none", "value": {}},
                            ],
                        }
                    ],
                }
            ],
        }
    ]
}


@pytest.mark.parametrize("algorithm", ["gzip", "br"])
def test_takes_what_sentry_sdk_sends(receiver, algorithm):
    """Transaction and error of the real SDK arrive whole, under either compression."""
    client = sentry_sdk.Client(
        dsn=receiver.dsn,
        traces_sample_rate=1.0,
        release="shop@1",
        default_integrations=False,
        _experiments={"transport_compression_algo": algorithm},
    )
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        with sentry_sdk.start_transaction(name="GET /", op="http.server") as transaction:
            sentry_sdk.capture_message("hello")
    client.close()
    receiver.wait_for(lambda it: it.transactions() and it.errors(), what="both events")
    assert receiver.transactions()[0]["transaction"] == "GET /"
    assert receiver.errors()[0]["message"] == "hello"
    assert receiver.errors()[0]["contexts"]["trace"]["trace_id"] == transaction.trace_id
    assert receiver.items[0].envelope_headers["trace"]["release"] == "shop@1"
    assert receiver.requests[0].headers["content-encoding"] == algorithm
    assert receiver.refused == 0


def test_takes_what_spotlight_takes(receiver):
    """A service that has SENTRY_SPOTLIGHT=<url>/stream and no DSN sends here too."""
    client = sentry_sdk.Client(spotlight=f"{receiver.url}/stream", default_integrations=False)
    client.capture_event({"message": "hello"})
    client.close()
    receiver.wait_for(lambda it: it.errors(), what="the message")
    assert receiver.items[0].path == "/stream"


def test_takes_streamed_spans_one_by_one(receiver, post, envelope):
    """A batch of Sentry's streamed spans, or of logs, becomes one item each."""
    spans = {"version": 2, "items": [{"span_id": "a"}, {"span_id": "b"}]}
    body = envelope(("span", spans), ("log", {"items": [{"body": "x"}]}), ("span", {"op": "old"}))
    assert post(ENVELOPE, body)[0] == 200
    assert [(item.kind, item.payload) for item in receiver.items] == [
        ("span", {"span_id": "a"}),
        ("span", {"span_id": "b"}),
        ("log", {"body": "x"}),
        ("span", {"op": "old"}),
    ]


@pytest.mark.parametrize("path", ["/v1/traces", "/api/1/integration/otlp/v1/traces/"])
def test_takes_what_the_otlp_exporter_sends(receiver, path):
    """A span of the real OTLP exporter arrives whole, flat, and with hexadecimal ids."""
    provider = TracerProvider(resource=Resource({"service.name": "web"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(receiver.url + path)))
    tracer = provider.get_tracer("library", "1")
    with tracer.start_as_current_span("parent", kind=SpanKind.SERVER) as parent:
        child = tracer.start_span("child", attributes={"n": 7, "list": ["x"], "flag": True})
        child.add_event("happened", {"k": "v"})
        child.set_status(Status(StatusCode.ERROR, "broken"))
        child.end()
    provider.shutdown()
    receiver.wait_for(lambda it: len(it.spans()) == 2, what="2 spans")
    first, second = receiver.spans()
    assert first["trace_id"] == f"{parent.get_span_context().trace_id:032x}"
    assert first["span_id"] == f"{child.get_span_context().span_id:016x}"
    assert first["parent_span_id"] == second["span_id"]
    assert second["parent_span_id"] is None
    assert first["attributes"] == {"n": 7, "list": ["x"], "flag": True}
    assert first["events"][0]["name"] == "happened"
    assert first["events"][0]["attributes"] == {"k": "v"}
    assert first["status"] == {"code": "ERROR", "message": "broken"}
    assert second["kind"] == "SERVER"
    assert second["resource"]["service.name"] == "web"
    assert second["scope"] == {"name": "library", "version": "1"}
    assert receiver.items[0].kind == "otlp_span"


def test_takes_otlp_as_json(receiver, post):
    """OTLP/JSON gives the same flat spans as protobuf does."""
    body = json.dumps(OTLP_JSON).encode()
    answer = post("/v1/traces", body, Content_Type="application/json; charset=utf-8")
    assert answer == (200, b"{}")
    (span,) = receiver.spans()
    assert span["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert span["parent_span_id"] is None
    assert span["kind"] == "SERVER"
    assert span["end_time_unix_nano"] - span["start_time_unix_nano"] == 2_000_000_000
    assert span["attributes"] == {"n": 7, "d": 0.5, "list": [True], "map": {"k": "v"}, "none": None}
    assert span["resource"] == {"service.name": "web"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/traces", 200),
        ("/api/1/integration/otlp/v1/traces", 202),
        ("/api/1/integration/otlp/v1/traces/", 202),
    ],
)
def test_answers_otlp_as_the_real_endpoints_do(post, path, status):
    """Collectors answer 200 and Sentry 202, with an empty response message."""
    answer = post(path, b"", Content_Type="application/x-protobuf")
    assert answer == (status, ExportTraceServiceResponse().SerializeToString())


@pytest.mark.parametrize("signal", ["logs", "metrics"])
def test_keeps_other_otlp_signals_as_bytes(receiver, post, signal):
    """OTLP logs and metrics are accepted, so that their exporters stay quiet."""
    assert post(f"/v1/{signal}", b"\x01", Content_Type="application/x-protobuf")[0] == 200
    assert [(item.kind, item.payload) for item in receiver.items] == [(f"otlp_{signal}", b"\x01")]


@pytest.mark.parametrize("path", [ENVELOPE, "/api/1/envelope", "/stream", "/api/1/envelope/?k=v"])
def test_answers_an_envelope_with_its_event_id(receiver, post, envelope, path):
    """The answer is Sentry's: 200 and the id of the event."""
    status, answer = post(path, envelope(("event", {"message": "x"}), event_id="f" * 32))
    assert (status, json.loads(answer)) == (200, {"id": "f" * 32})


def test_reads_every_shape_of_envelope(receiver, post):
    """Items without a length end with their line, empty lines do not count, bytes stay bytes."""
    body = (
        b'{}\n{"type":"event"}\n{"message":"no length"}\n\n\n'
        b'{"type":"attachment","length":5,"filename":"a"}\n\x00\n{}\n\n'
        b'{"type":"future","length":2}\n{}\n{"type":"profile"}\n[1]\n'
        b'{"type":"transaction"}\n{"transaction":"no line break at the end","n":NaN,"m":1e999}'
    )
    assert post(ENVELOPE, body)[0] == 200
    assert [(item.kind, item.payload) for item in receiver.items] == [
        ("error", {"message": "no length"}),
        ("attachment", b"\x00\n{}\n"),
        ("future", {}),
        ("profile", b"[1]"),
        ("transaction", {"transaction": "no line break at the end", "n": None, "m": None}),
    ]
    assert receiver.items[1].headers["filename"] == "a"
    assert receiver.items[1].fields == {}


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("br", brotli.compress),
    ],
)
def test_decompresses(receiver, post, envelope, encoding, compress):
    """Every encoding that Sentry takes is undone; `bodies` holds what was compressed."""
    body = envelope(("event", {"message": "x" * 3_000_000}))
    assert post(ENVELOPE, compress(body), Content_Encoding=encoding)[0] == 200
    assert receiver.bodies == [body]


def test_reads_chunked_bodies_and_keeps_the_connection(receiver, envelope):
    """Node's SDK sends chunks; several requests go over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    for _ in range(3):
        body = envelope(("event", {"message": "x"}))
        chunks = iter([body[:10], body[10:]])
        connection.request("POST", ENVELOPE, chunks, encode_chunked=True)
        used = connection.sock
        response = connection.getresponse()
        assert response.status == 200
        response.read()
        assert connection.sock is used
    connection.close()
    assert len(receiver.errors()) == 3


@pytest.mark.parametrize("path", ["/", "/health"])
def test_says_what_it_is(receiver, path):
    """Who opens the address in a browser learns what listens there."""
    with urllib.request.urlopen(receiver.url + path, timeout=10) as response:
        assert response.headers["Content-Type"] == "text/plain"
        assert b"otel-sentry receiver" in response.read()


def test_respond_answers_instead(envelope):
    """A test can answer as a broken Sentry does; what came is kept all the same."""

    def limit(request):
        if request.items[0].kind == "transaction":
            return Response(429, {"Retry-After": "60"}, b"slow down", delay=0.01)
        return None

    with Receiver(respond=limit) as receiver:
        connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        connection.request("POST", ENVELOPE, envelope(("transaction", {"transaction": "x"})))
        response = connection.getresponse()
        assert (response.status, response.headers["Retry-After"]) == (429, "60")
        assert response.read() == b"slow down"
        connection.request("POST", ENVELOPE, envelope(("event", {})))
        assert connection.getresponse().status == 200
        connection.close()
        assert len(receiver.transactions()) == 1


def test_close_ends_delays_and_connections(envelope):
    """Leaving the block waits neither for a slow answer nor for an idle client."""
    with Receiver(respond=lambda _: Response(delay=60)) as receiver:
        slow = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        slow.request("POST", ENVELOPE, envelope(("event", {})))
        receiver.wait_for(lambda it: it.errors())
        before = time.monotonic()
    assert time.monotonic() - before < 5
    slow.close()


def test_wait_for_returns_what_the_predicate_found(receiver, post, envelope):
    """It wakes up when something arrives on another thread, and hands it over."""
    body = envelope(("event", {"message": "x"}))
    sender = threading.Timer(0.05, post, (ENVELOPE, body))
    sender.start()
    assert receiver.wait_for(lambda it: it.errors()) == [{"message": "x"}]
    sender.join()


def test_wait_for_tells_what_came_instead(receiver, post, envelope):
    """A test that fails shows what was received, not only that it was the wrong thing."""
    post(ENVELOPE, envelope(("transaction", {"transaction": "GET /"}), ("session", {})))
    post(ENVELOPE, b"nonsense")
    expected = (
        r"no error within 0.01 s; received 1 transaction, 1 session "
        r"\(last transactions: GET /\), refused 1"
    )
    with pytest.raises(TimeoutError, match=expected):
        receiver.wait_for(lambda it: it.errors(), timeout=0.01, what="error")


def test_on_item_sees_each_item(envelope):
    """The callback gets the items in their order."""
    seen: list[Item] = []
    with Receiver(on_item=seen.append, keep=0) as receiver:
        body = envelope(("event", {}), ("session", {}))
        urllib.request.urlopen(receiver.url + ENVELOPE, body, timeout=10).close()
        assert [item.kind for item in seen] == ["error", "session"]
        assert receiver.items == []


def test_keeps_the_last_items_only(envelope):
    """`keep` bounds what is held in memory; the oldest go."""
    with Receiver(keep=3) as receiver:
        body = envelope(*(("event", {"n": n}) for n in range(5)))
        urllib.request.urlopen(receiver.url + ENVELOPE, body, timeout=10).close()
        assert receiver.errors() == [{"n": 2}, {"n": 3}, {"n": 4}]


def test_keeps_a_bounded_number_of_bytes(receiver, post, monkeypatch, envelope):
    """Large bodies are forgotten before their number reaches `keep`."""
    monkeypatch.setattr("otel_sentry.cli.tail.receiver._KEPT_BYTES", 5_000)
    for number in range(10):
        post(ENVELOPE, envelope(("event", {"n": number, "x": "x" * 2_000})))
    assert [event["n"] for event in receiver.errors()] == [8, 9]
    assert len(receiver.bodies) == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.com", ""])
def test_listens_on_loopback_only(host):
    """What services send holds user data: no other machine can reach the receiver."""
    with pytest.raises(ValueError, match="not an IPv4 loopback address: use 127"):
        Receiver(host=host)


def test_says_that_the_port_is_taken(receiver):
    """A second receiver on a port fails with an error of its own."""
    with pytest.raises(PortTakenError, match=f"port {receiver.port} is taken"):
        Receiver(receiver.port).start()


def test_a_port_is_free_after_close():
    """A restart on the same port works at once."""
    with Receiver() as first, socket.create_connection(("127.0.0.1", first.port)):
        port = first.port
    with Receiver(port) as second:
        assert second.url == f"http://127.0.0.1:{port}"
        assert second.otlp_endpoint == f"http://127.0.0.1:{port}/v1/traces"


def test_has_no_address_before_it_starts():
    """Port 0 is no address; the error says how to start it."""
    with pytest.raises(RuntimeError, match="with Receiver"):
        _ = Receiver().url
