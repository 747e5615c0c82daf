"""The receiver listens on a developer's machine: whatever comes, it answers and goes on."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import sys
import time
import tracemalloc
import types
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sentry.cli.tail import _server
from otel_sentry.cli.tail._decompress import decompress
from otel_sentry.cli.tail._items import Refused
from otel_sentry.cli.tail._server import Server
from otel_sentry.cli.tail.receiver import Receiver

ENVELOPE = "/api/1/envelope/"
PROTOBUF = {"Content_Type": "application/x-protobuf"}
JSON = {"Content_Type": "application/json"}

MALFORMED_ENVELOPES = {
    "empty": b"",
    "no JSON": b"hello",
    "no object": b"[]\n",
    "item header is no JSON": b"{}\nhello\n",
    "item header is no object": b"{}\n1\n",
    "item without a type": b"{}\n{}\n{}\n",
    "type is no string": b'{}\n{"type":1}\n{}\n',
    "type is a list": b'{}\n{"type":[]}\n{}\n',
    "length too long": b'{}\n{"type":"event","length":9}\n{}\n',
    "length too short": b'{}\n{"type":"event","length":1}\n{}\n',
    "length negative": b'{}\n{"type":"event","length":-1}\n{}\n',
    "length huge": b'{}\n{"type":"event","length":' + b"9" * 30 + b"}\n{}\n",
    "length of too many digits": b'{}\n{"type":"event","length":' + b"9" * 5000 + b"}\n{}\n",
    "length is a flag": b'{}\n{"type":"event","length":true}\n{}\n',
    "length is text": b'{}\n{"type":"event","length":"2"}\n{}\n',
    "event is a list": b'{}\n{"type":"event"}\n[]\n',
    "event is nothing": b'{}\n{"type":"event"}\n',
    "event is no UTF-8": b'{}\n{"type":"event"}\n{"a":"\xff"}\n',
    "nested too deep": b'{}\n{"type":"event"}\n' + b'{"a":' * 200_000,
    "spans are numbers": b'{}\n{"type":"span"}\n{"items":[1]}\n',
}

SPAN = {"traceId": "a" * 32, "spanId": "b" * 16}
MALFORMED_OTLP = {
    "no object": [],
    "resourceSpans is a number": {"resourceSpans": 1},
    "resourceSpans holds text": {"resourceSpans": ["x"]},
    "span is text": {"resourceSpans": [{"scopeSpans": [{"spans": ["x"]}]}]},
    "span without ids": {"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]},
    "id is a number": {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN | {"traceId": 1}]}]}]},
    "kind unknown": {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN | {"kind": 99}]}]}]},
    "time is text": {
        "resourceSpans": [{"scopeSpans": [{"spans": [SPAN | {"startTimeUnixNano": "x"}]}]}]
    },
    "attribute is text": {
        "resourceSpans": [{"scopeSpans": [{"spans": [SPAN | {"attributes": ["x"]}]}]}]
    },
    "scope is text": {"resourceSpans": [{"scopeSpans": [{"scope": "x", "spans": [SPAN]}]}]},
}


@pytest.mark.parametrize("body", MALFORMED_ENVELOPES.values(), ids=MALFORMED_ENVELOPES)
def test_refuses_malformed_envelopes(receiver, post, body):
    """A malformed envelope gets 400 and one line that says what is wrong; nothing is kept."""
    status, answer = post(ENVELOPE, body)
    assert status == 400
    assert answer.endswith(b"\n")
    assert answer.count(b"\n") == 1
    assert receiver.refused == 1
    assert receiver.items == []


@pytest.mark.parametrize("data", MALFORMED_OTLP.values(), ids=MALFORMED_OTLP)
def test_refuses_malformed_otlp(receiver, post, data):
    """OTLP/JSON of the wrong shape gets 400; nothing is kept."""
    assert post("/v1/traces", json.dumps(data).encode(), **JSON)[0] == 400
    assert (receiver.refused, receiver.items) == (1, [])


def test_refuses_broken_protobuf(receiver, post):
    """Bytes that are no ExportTraceServiceRequest get 400."""
    assert post("/v1/traces", b"\xff\xff\xff", **PROTOBUF)[0] == 400
    assert receiver.refused == 1


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 404),
        ("/api/1/store/", {}, 404),
        ("/v1/traces", {"Content_Type": "text/plain"}, 415),
        ("/v1/traces", {}, 415),
        (ENVELOPE, {"Content_Encoding": "zstd"}, 415),
        (ENVELOPE, {"Content_Encoding": "gzip"}, 400),
        (ENVELOPE, {"Content_Encoding": "deflate"}, 400),
        (ENVELOPE, {"Content_Encoding": "br"}, 400),
        (ENVELOPE, {"Content_Length": "-1"}, 400),
        (ENVELOPE, {"Content_Length": "9" * 5000}, 400),
        (ENVELOPE, {"Transfer_Encoding": "gzip"}, 400),
    ],
)
def test_refuses_what_it_does_not_know(receiver, post, path, headers, status):
    """Unknown paths, types and encodings get the status that says so."""
    assert post(path, b"hello", **headers)[0] == status
    assert receiver.refused == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_not_found(receiver, method):
    """Nothing can be read back from the receiver over HTTP: it only takes."""
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    connection.request(method, ENVELOPE)
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", lambda data: brotli.compress(data, quality=1)),
        ("identity", bytes),
    ],
)
def test_stops_at_the_limit(encoding, compress):
    """A bomb is refused with 413, and decompressed no further than its limit."""
    bomb = compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as refusal:
            decompress(bomb, encoding, limit=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert refusal.value.status == 413
    assert decompress(compress(bytes(1 << 20)), encoding, limit=1 << 20) == bytes(1 << 20)


def test_refuses_a_bomb_over_http(receiver, post):
    """The limit of 100 MiB holds for requests too, and the server goes on."""
    compressor = zlib.compressobj(wbits=31)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(101)) + compressor.flush()
    assert post(ENVELOPE, bomb, Content_Encoding="gzip")[0] == 413
    assert post(ENVELOPE, b"{}\n")[0] == 200
    assert receiver.refused == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_refuses_a_body_that_ends_early(encoding):
    """Half a compressed body is malformed, not a short body."""
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}[encoding]
    whole = compress(bytes(range(256)) * 100)
    with pytest.raises(Refused, match="ends early") as refusal:
        decompress(whole[: len(whole) // 2], encoding, limit=1 << 20)
    assert refusal.value.status == 400


def test_says_how_to_get_brotli(monkeypatch):
    """Without Brotli, br is refused with the command that fixes it."""
    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(Refused, match=r"pip install 'brotli>=1\.2'") as refusal:
        decompress(b"", "br", limit=10)
    assert refusal.value.status == 415


def test_says_that_brotli_is_too_old(monkeypatch):
    """Brotli before 1.2 cannot stop at a limit, so it is not used at all."""

    class Old:
        def is_finished(self):
            return False

        def process(self, data):
            return data

    old = types.SimpleNamespace(Decompressor=Old, error=ValueError)
    monkeypatch.setitem(sys.modules, "brotli", old)
    with pytest.raises(Refused, match="needs a newer Brotli"):
        decompress(b"", "br", limit=10)


def test_refuses_a_large_body(receiver, post):
    """Above 20 MiB the client reads 413 instead of a broken connection."""
    status, answer = post(ENVELOPE, bytes((20 << 20) + 1))
    assert (status, answer) == (413, b"the body is larger than 20971520 bytes\n")
    assert post(ENVELOPE, b"{}\n")[0] == 200


def test_refuses_a_large_chunked_body(receiver):
    """The limit holds where no Content-Length announces the size: for one chunk and for all."""
    start = b"POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    for body in (b"1400001\r\n", b"1400000\r\n" + bytes(20 << 20) + b"\r\n1\r\n"):
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as client:
            client.sendall(start + body)
            assert client.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "rest", [b"\r\n", b"x\r\n", b"-1\r\n", b"1" * 17 + b"\r\n", b"0\r\n" + b"a: b\r\n" * 200]
)
def test_refuses_malformed_chunks(receiver, rest):
    """A chunk needs a size, and trailers end some time."""
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as client:
        client.sendall(b"POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + rest)
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_refuses_too_many_items(receiver, post):
    """Millions of tiny items in one request would cost more memory than its bytes."""
    body = b"{}\n" + b'{"type":"x"}\n\n' * 10_001
    assert post(ENVELOPE, body)[0] == 413
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for _ in range(10_001):
        scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    assert post("/v1/traces", request.SerializeToString(), **PROTOBUF)[0] == 413


def test_goes_on_after_a_client_that_leaves(receiver, post, envelope):
    """Half a request, and no request at all, harm nobody else."""
    for part in (b"", b"POST /stream HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf"):
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as client:
            client.sendall(part)
    assert post("/stream", envelope(("event", {})))[0] == 200


def drip(client, forever):
    """Send a byte at a time until the receiver has had enough; what it says."""
    answer = b""
    client.settimeout(0.02)
    for _ in range(500):
        with contextlib.suppress(TimeoutError):
            answer += (received := client.recv(1000))
            if not received:
                return answer
        with contextlib.suppress(ConnectionError):
            client.send(forever)
    pytest.fail("the receiver goes on reading")


@pytest.mark.parametrize(
    ("start", "forever", "says"),
    [
        (b"", b"P", b""),
        (b"POST /stream HTTP/1.1\r\n", b"a", b""),
        (b"POST /stream HTTP/1.1\r\nContent-Length: 10000\r\n\r\n", b"a", b"HTTP/1.1 408"),
        (
            b"POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\na\r\n",
            b"HTTP/1.1 408",
        ),
        (
            b"POST /stream HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            b"a",
            b"HTTP/1.1 408",
        ),
    ],
    ids=["request line", "header", "body", "chunks", "body that is too large anyway"],
)
def test_hangs_up_on_a_client_that_drips(receiver, post, monkeypatch, start, forever, says):
    """A request has a limited time in all, however busily its bytes come one by one."""
    monkeypatch.setattr(_server, "_REQUEST_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as client:
        client.sendall(start)
        assert drip(client, forever).startswith(says)
    assert post(ENVELOPE, b"{}\n")[0] == 200


def test_an_idle_connection_is_no_slow_request(receiver, monkeypatch):
    """The time runs from the first byte of a request: a client may keep its connection open."""
    monkeypatch.setattr(_server, "_REQUEST_SECONDS", 0.1)
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=0.3)
    for _ in range(2):
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        with pytest.raises(TimeoutError):
            connection.sock.recv(1)  # neither a byte nor a hang-up
    connection.close()


def test_serves_so_many_connections_and_no_more(receiver, post, monkeypatch):
    """Beyond the limit a client is told so, and hung up on; who goes makes room."""
    monkeypatch.setattr(_server, "_MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", receiver.port)
        for _ in range(3):
            client = stack.enter_context(socket.create_connection(address, timeout=10))
            client.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        with socket.create_connection(address, timeout=10) as one_more:
            assert one_more.recv(1000).startswith(b"HTTP/1.1 503")
        assert receiver.refused == 1
    server = receiver._server
    deadline = time.monotonic() + 10
    while server._connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert post(ENVELOPE, b"{}\n")[0] == 200


BODIES = st.one_of(
    st.binary(max_size=300),
    # Near misses: lines of JSON, which get further than noise does.
    st.lists(
        st.one_of(
            st.sampled_from([b"{}", b'{"type":"event"}', b'{"type":"span","length":2}', b"[]"]),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["type", "length", "items", "resourceSpans", "scopeSpans"])
                        | st.text(max_size=3),
                        inner,
                        max_size=3,
                    )
                ),
                max_leaves=6,
            ).map(lambda value: json.dumps(value).encode()),
        ),
        max_size=6,
    ).map(b"\n".join),
)


@pytest.fixture(scope="module")
def long_running():
    """Serve every example of a property; a fault of the receiver's own fails the test."""
    faults: list[object] = []
    with pytest.MonkeyPatch.context() as patch, Receiver() as receiver:
        patch.setattr(Server, "handle_error", lambda *_: faults.append(sys.exc_info()[1]))
        yield receiver
    assert [fault for fault in faults if not isinstance(fault, OSError)] == []


@pytest.fixture(scope="module")
def connection(long_running):
    connection = http.client.HTTPConnection("127.0.0.1", long_running.port, timeout=10)
    yield connection
    connection.close()


@settings(max_examples=300, deadline=None)
@given(
    body=BODIES,
    path=st.sampled_from([ENVELOPE, "/stream", "/v1/traces", "/v1/logs", "/"]),
    content_type=st.sampled_from(["application/json", "application/x-protobuf"]),
    encoding=st.sampled_from(["", "gzip", "deflate", "br"]),
    compressed=st.booleans(),
)
def test_answers_any_body(connection, body, path, content_type, encoding, compressed):
    """No body gives a 500 or ends the connection: it is taken, or refused with a reason."""
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}
    if compressed and encoding:
        body = compress[encoding](body)
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    answer = response.read()
    assert response.status in {200, 400, 404, 413, 415}
    assert response.status == 200 or answer.endswith(b"\n")


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(min_size=1, max_size=200), headers=st.booleans())
def test_survives_any_bytes(long_running, noise, headers):
    """What is not even HTTP never kills the server thread."""
    address = ("127.0.0.1", long_running.port)
    with socket.create_connection(address, timeout=10) as client:
        client.sendall((b"POST /stream HTTP/1.1\r\n" if headers else b"") + noise + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        # The receiver may hang up on noise before it has read all of it.
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"
