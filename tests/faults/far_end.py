"""A far end that misbehaves on command; what it takes properly is kept by a ``Receiver``."""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from otel_sentry.cli.tail._decompress import decompress
from otel_sentry.cli.tail._envelope import parse_envelope
from otel_sentry.cli.tail.receiver import Item, Receiver

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from typing_extensions import Self


@dataclass(frozen=True)
class Mode:
    """
    How the far end treats what comes.

    Attributes:
        name: "take", "refuse" (nobody listens), "hang" (no answer while the mode lasts), "drop"
            (the connection breaks in the middle of the body) or "answer" (a status, nothing kept).
        delay: Seconds before an answer.
        status: Of an "answer".
        headers: Of an "answer".
        kinds: Only envelopes with an item of these types; the others are taken.
    """

    name: str = "take"
    delay: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()


TAKE = Mode()


def make_certificate(path: Path, address: str = "127.0.0.1") -> None:
    """Write a key and a self-signed certificate for an IP address into one file."""
    key = path.with_suffix(".key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=far-end"]
    command += ["-addext", f"subjectAltName=IP:{address}"]
    subprocess.run([*command, "-keyout", key, "-out", path], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())


class FarEnd:
    """
    A proxy in front of a receiver: what is refused there never reaches the receiver.

    Args:
        certificate: A file with key and certificate: speaks TLS.
        keep: So many items can be looked at; all are counted.
    """

    def __init__(self, certificate: Path | None = None, *, keep: int = 1_000_000) -> None:
        self.receiver = Receiver(keep=keep, on_item=self._count)
        self._taken: Counter[str] = Counter()
        self._lost: Counter[tuple[str, str]] = Counter()
        self.mode = TAKE
        self.answered: Counter[str] = Counter()
        """What was answered by 429, by kind; Sentry has counted it."""

        self.arrivals: deque[tuple[float, str]] = deque(maxlen=100_000)
        """When each request came, and the type of its first item."""

        self.requests = 0
        self.connections = 0
        self._certificate = certificate
        self._counting = threading.Lock()
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._listener: _Listener | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.receiver.start()
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.become(Mode("refuse"))
        self.receiver.close()

    @property
    def dsn(self) -> str:
        """The DSN that sends here."""
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://public@127.0.0.1:{self.port}/1"

    def present(self, certificate: Path) -> None:
        """Speak TLS with another certificate from the next connection on."""
        self._certificate = certificate

    def become(self, mode: Mode) -> None:
        """Change the mode; what hangs in the old one ends."""
        with self._changed:
            self.mode = mode
            self._changed.notify_all()
        if mode.name == "refuse":
            self._stop_listening()
        elif self._listener is None:
            self._listen()

    def kinds(self) -> Counter[str]:
        """Return how many items of each kind were taken, spans of transactions among them."""
        return Counter(self._taken)

    def counted(self) -> Counter[tuple[str, str]]:
        """Return what client reports say was lost: (category, reason) → quantity."""
        return Counter(self._lost)

    def lost(self, category: str) -> int:
        """Return how much of a category client reports say was lost."""
        return sum(number for (name, _), number in self.counted().items() if name == category)

    def spans(self) -> int:
        """Return how many spans were taken, roots included."""
        return self._taken["span"]

    def _count(self, item: Item) -> None:
        with self._counting:  # += takes several steps, and each connection has a thread
            self._taken.update(_quantities(item))
            self._count_report(item)

    def _count_report(self, item: Item) -> None:
        if item.kind == "client_report":
            for entry in item.fields["discarded_events"]:
                self._lost[entry["category"], entry["reason"]] += entry["quantity"]

    def _listen(self) -> None:
        self._listener = _Listener(("127.0.0.1", self.port), self)
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown()
            listener.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def secure(self, connection: socket.socket) -> socket.socket:
        """Return the connection, in TLS where that is spoken."""
        if self._certificate is None:
            return connection
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        return context.wrap_socket(connection, server_side=True)

    def serve(self, connection: socket.socket) -> None:
        """Serve the requests of one connection."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.receiver.port, timeout=20)
        self._open.add(connection)
        with self._counting:
            self.connections += 1
        try:
            with connection.makefile("rb") as reader:
                while self._serve_one(connection, reader, upstream):
                    pass
        finally:
            self._open.discard(connection)
            upstream.close()

    def _serve_one(self, connection, reader, upstream) -> bool:
        line = reader.readline()
        if not line:
            return False
        headers = http.client.parse_headers(reader)
        length = int(headers["Content-Length"])
        if self.mode.name == "drop":
            reader.read(length // 2)
            return False
        body = reader.read(length)
        with self._counting:
            self.requests += 1
        items = _items(body, headers)
        kinds = {item.kind for item in items}
        self.arrivals.append((time.time(), items[0].kind))
        mode = self.mode
        if mode.kinds and not mode.kinds & kinds:
            mode = TAKE
        with self._changed:
            seconds = None if mode.name == "hang" else mode.delay
            if seconds != 0:
                self._changed.wait_for(lambda: self.mode is not mode, seconds)
        if mode.name == "hang":
            return False
        if mode.name == "answer":
            if mode.status == HTTPStatus.TOO_MANY_REQUESTS:
                with self._counting:
                    for item in items:
                        self.answered.update(_quantities(item))
                        if len(kinds) > 1:  # as Sentry does: a limit is not for reports
                            self._count_report(item)
            connection.sendall(_head(mode.status, mode.headers, 0))
            return True
        upstream.request("POST", line.split()[1].decode(), body, dict(headers))
        answer = upstream.getresponse()
        data = answer.read()
        connection.sendall(_head(answer.status, {}, len(data)) + data)
        return True


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, far_end: FarEnd) -> None:
        self.far_end = far_end
        super().__init__(address, _Handler)

    def handle_error(self, request, client_address) -> None:
        """Say nothing: clients go away, and hang up on certificates."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Listener

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.server.far_end.secure(self.request) as connection:
            self.server.far_end.serve(connection)


def _items(body: bytes, headers) -> list[Item]:
    plain = decompress(body, headers.get("Content-Encoding", ""), 100 << 20)
    return parse_envelope(plain, "/")[1]


def _quantities(item: Item) -> dict[str, int]:
    if item.kind != "transaction":
        return {item.kind: 1}
    return {item.kind: 1, "span": 1 + len(item.fields["spans"])}


def _head(status: int, headers: Mapping[str, str], length: int) -> bytes:
    fields = {**headers, "Content-Length": str(length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} As Told\r\n{lines}\r\n".encode()
