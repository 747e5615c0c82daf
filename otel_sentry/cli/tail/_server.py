"""
The HTTP of the receiver: bounded reading, keep-alive, one-line refusals, a quick stop.

Only the standard library, and nothing of Sentry or OTLP.
"""

from __future__ import annotations

import contextlib
import io
import socket
import socketserver
import string
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from otel_sentry.cli.tail._items import Refused

# Relay refuses larger compressed bodies too (relay-config, max_api_payload_size).
_MAX_BODY_BYTES = 20 * 1024 * 1024

# What a refused client may still send, so that it reads our answer instead of a broken pipe.
_MAX_DISCARDED_BYTES = 100 * 1024 * 1024

_MAX_TRAILERS = 100

# From its first byte to its last. A client that sends a byte now and then is not idle, but goes on
# for as long as it likes. Who sends 20 MiB to the same machine needs less than a second.
_REQUEST_SECONDS = 60.0

# Each has a thread. A service has at most 17 for each of its processes.
_MAX_CONNECTIONS = 512


@dataclass(frozen=True)
class Response:
    """
    What goes out.

    Attributes:
        status: The HTTP status.
        headers: In addition to Content-Length.
        body: As it is.
        delay: Seconds to wait before it goes out; closing the receiver ends the wait.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0


# (method, path, headers by lower-case name, body as it came)
Serve = Callable[[str, str, Mapping[str, str], bytes], Response]


class Server(ThreadingHTTPServer):
    """
    One thread a connection, so many and no more, and a stop that does not wait for idle clients.

    Args:
        address: Host and port.
        serve: Answers a request, or raises `Refused`.
        on_refused: Is called with one line for each request that was refused.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], serve: Serve, on_refused: Callable[[str], None]
    ) -> None:
        self.serve = serve
        self.on_refused = on_refused
        self._connections: set[Any] = set()  # bound: _MAX_CONNECTIONS
        super().__init__(address, _Handler)

    def start(self) -> None:
        """Serve on a thread of its own."""
        # The poll interval is how long stop() may take.
        threading.Thread(
            target=self.serve_forever, args=(0.05,), name="otel-sentry-receiver", daemon=True
        ).start()

    def stop(self) -> None:
        """Close the listening socket and every open connection."""
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Bind without asking the DNS for our own name, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Hang up where too many are connected."""
        if len(self._connections) < _MAX_CONNECTIONS:
            return True
        reason = f"{_MAX_CONNECTIONS} connections are open, and there may be no more"
        self.on_refused(f"503 {reason}")
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(reason) + 1}\r\n"
        with contextlib.suppress(OSError):
            request.sendall(f"{head}Connection: close\r\n\r\n{reason}\n".encode())
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away; print a fault of ours, and go on."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Reader(io.RawIOBase):
    """
    Read from a client that has only so much time for a whole request.

    Raises:
        TimeoutError: On reading: nothing came for long, or the request took too long.
    """

    def __init__(self, connection: Any, idle_seconds: float) -> None:
        self._connection = connection
        self._idle_seconds = idle_seconds
        self._deadline = float("inf")

    def expect_request(self) -> None:
        """Let the time begin with the next byte."""
        self._deadline = float("inf")

    def readable(self) -> bool:
        """Say that this is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(min(left, self._idle_seconds))
        try:
            count = int(self._connection.recv_into(buffer))
        finally:
            self._connection.settimeout(self._idle_seconds)
        self._deadline = min(self._deadline, time.monotonic() + _REQUEST_SECONDS)
        return count


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds, for each read, and for all writes of an answer
    # The header and the body of an answer are two writes; Nagle would delay the second by 40 ms.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Read through what watches the time."""
        super().setup()
        self.rfile.close()
        self._reader = _Reader(self.connection, self.timeout)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        """Serve one request; one whose header lines take too long is not answered at all."""
        self._reader.expect_request()
        super().handle_one_request()

    def do_POST(self) -> None:
        try:
            body = self._read_body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = self.server.serve(self.command, self.path, headers, body)
        except Refused as refused:
            self.send_error(refused.status, refused.reason)
        except TimeoutError:
            self.send_error(408, "the body does not come, or takes too long")
        else:
            self._send(response)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815 -- http.server's names

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002 -- http.server's signature
    ) -> None:
        """Refuse in one line of text; http.server calls this for broken request lines too."""
        reason = message or self.responses.get(code, ("refused",))[0]
        self.server.on_refused(f"{code} {reason}")
        self._send(Response(code, {"Content-Type": "text/plain"}, f"{reason}\n".encode()))

    def version_string(self) -> str:
        """Name ourselves instead of Python's version."""
        return "otel-sentry"

    def log_message(self, *_: object) -> None:
        """Stay silent: what arrived is shown by those who asked for it."""

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def _read_body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length") or []
        encoding = self.headers.get("Transfer-Encoding")
        was_closing, self.close_connection = self.close_connection, True
        # Until the body is read to its end, the connection cannot carry another request.
        if encoding is not None:
            if encoding.strip().lower() != "chunked" or lengths:
                raise Refused(400, "Transfer-Encoding is something else than chunked")
            body = self._read_chunks()
        else:
            body = self._read_exactly(_content_length(lengths))
        self.close_connection = was_closing
        return body

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := _chunk_size(self.rfile.readline(64)):
            if len(body) + size > _MAX_BODY_BYTES:
                raise _too_large()
            body += self._read_exactly(size)
            self.rfile.readline(3)
        for _ in range(_MAX_TRAILERS):
            if not self.rfile.readline(1024).strip():
                return bytes(body)
        raise Refused(400, "the body has too many trailers")

    def _read_exactly(self, size: int) -> bytes:
        if size > _MAX_BODY_BYTES:
            rest = min(size, _MAX_DISCARDED_BYTES)
            while rest > 0 and (chunk := self.rfile.read(min(rest, 1 << 16))):
                rest -= len(chunk)
            raise _too_large()
        data = self.rfile.read(size)
        if len(data) < size:
            raise Refused(400, "the body ends before its Content-Length")
        return data


def _too_large() -> Refused:
    return Refused(413, f"the body is larger than {_MAX_BODY_BYTES} bytes")


def _content_length(values: list[str]) -> int:
    if not values:
        return 0
    text = values[0].strip()
    # 18 digits: int() refuses thousands of them with another exception, and none are needed.
    if len(set(values)) > 1 or not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004
        raise Refused(400, "Content-Length is not a number")
    return int(text)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip().decode("latin-1")
    if not digits or len(digits) > 16 or set(digits) - set(string.hexdigits):  # noqa: PLR2004
        raise Refused(400, "a chunk of the body has no size")
    return int(digits, 16)
