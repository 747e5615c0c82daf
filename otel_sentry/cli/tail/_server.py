"""
The HTTP of the receiver: bounded reading, keep-alive, one-line refusals, a quick stop.

Only the standard library, and nothing of Sentry or OTLP.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import string
import sys
import threading
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
    One thread a connection, and a stop that does not wait for idle clients.

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
        self._connections: set[Any] = set()
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


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds, for each read and write
    # The header and the body of an answer are two writes; Nagle would delay the second by 40 ms.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        try:
            body = self._read_body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = self.server.serve(self.command, self.path, headers, body)
        except Refused as refused:
            self.send_error(refused.status, refused.reason)
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
