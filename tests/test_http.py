from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from otel_sentry import _http
from otel_sentry._http import Connections, whole_answer

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-", min_size=1, max_size=12)
VALUE = st.text(st.characters(codec="latin-1", exclude_categories=["C", "Z"]), max_size=20)


class Socket:
    """As much of a socket as a response reads from."""

    def __init__(self, raw):
        self.raw = raw

    def makefile(self, _mode):
        """Return the bytes as a file."""
        return io.BytesIO(self.raw)


def by_the_standard_library(raw):
    """Return status, fields, body, and whether the connection may be used again."""
    response = http.client.HTTPResponse(Socket(raw), method="POST")
    response.begin()
    data = response.read()
    return response.status, response.headers, data, not response.will_close


@given(
    st.sampled_from(["200 OK", "202", "429 Too Many Requests", "503 "]),
    st.lists(st.tuples(TOKEN, VALUE), max_size=20),
    st.binary(max_size=100),
)
def test_an_answer_in_one_piece(status, fields, data):
    """It is what the standard library reads, repeated fields included."""
    fields = [*fields, ("Content-Length", str(len(data)))]
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    raw = f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + data

    ours, theirs = whole_answer(raw), by_the_standard_library(raw)
    assert (ours.status, ours.data, True) == (theirs[0], theirs[2], theirs[3])
    for name, _ in fields:
        assert ours.headers.get(name.upper()) == theirs[1].get(name.upper()).strip()
    assert ours.headers.get("not-there") is None


LINES = """
Content-Length:2
Content-Length:3
content-length:2
Content-Length : 2
Content-Length:+2
Content-Length:
Transfer-Encoding:chunked
transfer-encoding:identity
Connection:close
Connection:Keep-Alive
Connection:upgrade
:2
no colon
 folded: 1
Retry-After:60
a: b
"""
FIRST_LINES = """
HTTP/1.1 200 OK
HTTP/1.0 200 OK
HTTP/1.1 100 Continue
HTTP/1.1 204 No Content
HTTP/1.1 2000
HTTP/2 200
http/1.1 200 OK
"""
FIRST = st.sampled_from([*FIRST_LINES.splitlines(), "HTTP/1.1 200 OK\nContent-Length: 0"])
LINE = st.sampled_from([*LINES.splitlines(), "a: b\nc: d", "a: b\rc: d"])


@given(
    FIRST,
    st.lists(LINE, max_size=5),
    st.sampled_from([b"{}", b"", b"{}{}", b"2\r\n{}\r\n0\r\n\r\n"]),
)
def test_what_may_be_read_otherwise(first, lines, data):
    """An answer is read here only where the standard library reads the same."""
    raw = "\r\n".join([first, *lines, "", ""]).encode("latin-1") + data
    ours = whole_answer(raw)
    if ours is not None:
        status, _, body, may_be_used_again = by_the_standard_library(raw)
        assert (ours.status, ours.data, True) == (status, body, may_be_used_again)


@given(st.binary(max_size=300))
def test_any_bytes(raw):
    """Whatever a far end sends, nothing is raised."""
    whole_answer(raw)
    whole_answer(b"HTTP/1.1 200 OK\r\n" + raw)


@pytest.mark.parametrize("answer", [b"a: b\r\n" * 101 + b"\r\n", b"a" * 65537])
def test_limits(answer):
    """A far end cannot make us read without end."""
    with connections_to(b"HTTP/1.1 200 OK\r\n" + answer) as (_, connections):
        with pytest.raises(http.client.HTTPException):
            connections.post("/", b"x", {}, 2.0)
        assert connections._idle == []


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Sentry-Rate-Limits: 60:error\r\n\r\nhello",
        b"HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + 20000 * b"x",
    ],
    ids=["plain", "chunked", "1.0", "continue", "long"],
)
@pytest.mark.parametrize("seconds", [None, 5.0])
def test_an_answer_in_many_pieces(raw, seconds):
    """However it comes, it reads as the standard library reads it."""

    class InPieces(Server):
        def _serve(self, one):
            one.recv(65536)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, 60, 7):
                one.sendall(raw[start : start + 7])
                time.sleep(0.001)
            one.sendall(raw[63:])

    status, headers, data, may_be_used_again = by_the_standard_library(raw)
    with connections_to(server_class=InPieces) as (_, connections):
        answer = connections.post("/", b"x", {}, seconds)
        assert (answer.status, answer.data) == (status, data)
        assert answer.headers == {name.lower(): value for name, value in headers.items()}
        assert bool(connections._idle) == may_be_used_again


OK = b"HTTP/1.1 200 OK\r\nX-Sentry-Rate-Limits: 60:error\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers each request by the next of its answers, and notes what came over which socket."""

    def __init__(self, answers):
        self._answers = iter(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.requests = []
        self.sockets = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        # Only this thread closes the listener: were it waiting on a number that another socket
        # has been given meanwhile, it would take the connections of that one.
        with self._listener, suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                self.sockets += 1
                with one, suppress(ConnectionError):
                    self._serve(one)

    def _serve(self, one):
        while (request := one.recv(65536)) and (answer := next(self._answers, None)):
            self.requests.append(request)
            one.sendall(answer)
            if answer.startswith(b"HTTP/1.0") or b"Connection: close" in answer:
                break

    def close(self):
        """Listen no longer."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def connections_to(*answers, host="127.0.0.1", server_class=Server):
    """Return a server, and connections to it."""
    server = server_class(answers)
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(total=5)).connection_from_url(
        f"http://{host}:{server.port}/"
    )
    try:
        yield server, Connections(pool)
    finally:
        server.close()


def test_a_request_is_one_piece():
    """Head and body are written at once; the answer is its status, fields and body."""
    with connections_to(OK) as (server, connections):
        answer = connections.post("/api/1/", b"body", {"X-Sentry-Auth": "key"}, None)

    assert (answer.status, answer.data) == (200, b"{}")
    assert answer.headers.get("x-sentry-rate-limits") == "60:error"
    head = f"POST /api/1/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    assert server.requests == [
        f"{head}X-Sentry-Auth: key\r\nContent-Length: 4\r\n\r\nbody".encode()
    ]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://sentry.example/", "sentry.example"),
        ("https://sentry.example:443/", "sentry.example"),
        ("https://sentry.example:9000/", "sentry.example:9000"),
        ("http://[::1]:9000/", "[::1]:9000"),
        ("http://[::1]/", "[::1]"),
        ("http://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/", "xn--bcher-kva.example"),
    ],
)
def test_the_host(url, host):
    """The host is named as RFC 9112, section 3.2, has it: a port only where it says something."""
    connections = Connections(urllib3.PoolManager().connection_from_url(url))
    assert connections._head("/", {}, 0).startswith(f"POST / HTTP/1.1\r\nHost: {host}\r\n".encode())


def test_a_connection_is_used_again():
    """Requests one after the other share a connection."""
    with connections_to(OK, OK, OK) as (server, connections):
        for _ in range(3):
            assert connections.post("/", b"x", {}, 2.0).status == 200
    assert (len(server.requests), server.sockets) == (3, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 65536,
    ],
    ids=["close", "1.0", "endless"],
)
def test_a_connection_that_is_not_used_again(answer):
    """Where the far end closes it, or has more to say than is read, the next one is a new one."""
    with connections_to(answer, OK) as (server, connections):
        assert connections.post("/", b"x", {}, None).status == 200
        assert connections.post("/", b"x", {}, None).status == 200
    assert server.sockets == 2


def test_a_connection_that_was_closed_meanwhile(monkeypatch):
    """A connection that was idle for long is looked at before it is used."""
    monkeypatch.setattr(_http, "_FRESH_SECONDS", 0.0)
    quiet = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
    with connections_to(quiet, OK) as (server, connections):
        connections.post("/", b"x", {}, None)
        [(_, idle)] = connections._idle
        idle.sock.settimeout(5)
        assert idle.sock.recv(1, socket.MSG_PEEK) == b""  # it is closed now
        assert connections.post("/", b"x", {}, None).status == 200
    assert server.sockets == 2


def test_a_far_end_that_does_not_answer():
    """A connection whose request was not answered is not used again."""
    with connections_to() as (_, connections):
        for _ in range(2):
            with pytest.raises((OSError, http.client.HTTPException)):
                connections.post("/", b"x", {}, 0.05)
        assert connections._idle == []


def test_an_answer_that_drips():
    """An answer of which each byte comes in time is given up when its time is over."""
    over = threading.Event()

    class Drips(Server):
        def _serve(self, one):
            one.recv(65536)
            while not over.wait(0.02):
                one.sendall(b"HTTP/1.1 200 OK\r\n" if not self.requests else b"X: y\r\n")
                self.requests.append(None)

    with connections_to(server_class=Drips) as (_, connections):
        with pytest.raises(TimeoutError):
            connections.post("/", b"x", {}, 0.5)
        over.set()
        assert connections._idle == []


def test_a_field_is_one_line():
    """Nothing in a field can end it, and begin another."""
    with connections_to(OK) as (server, connections):
        for wrong in ({"a": "b\r\nc: d"}, {"a\n": "b"}):
            with pytest.raises(http.client.HTTPException):
                connections.post("/", b"x", wrong, None)
    assert server.requests == []
