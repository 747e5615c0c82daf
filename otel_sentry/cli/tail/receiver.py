"""
A far end on this machine: takes what services would send to Sentry or to an OTLP collector.

For development (`otel-sentry tail`), the demo and tests. It listens on loopback only, keeps a
bounded number of items in memory and answers as Sentry does.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import re
import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from otel_sentry.cli.tail._decompress import decompress
from otel_sentry.cli.tail._envelope import parse_envelope
from otel_sentry.cli.tail._items import Item, Refused
from otel_sentry.cli.tail._otlp import parse_traces
from otel_sentry.cli.tail._server import Response, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

__all__ = ["Item", "PortTakenError", "Receiver", "Request", "Response"]

T = TypeVar("T")

# Relay's limit for an envelope is the same 100 MiB (relay-config, max_envelope_size).
_MAX_DECOMPRESSED_BYTES = 100 * 1024 * 1024

# What is kept may hold this many bytes, as they came: `keep` alone would allow 10,000 * 100 MiB.
_KEPT_BYTES = 64 * 1024 * 1024

_ENVELOPE = re.compile(r"/api/[^/]+/envelope/?|/stream/?")
_OTLP = re.compile(r"(?P<sentry>/api/[^/]+/integration/otlp)?/v1/(?P<signal>traces|logs|metrics)/?")
_OTLP_TYPES = frozenset({"application/x-protobuf", "application/json"})

_ABOUT = (
    "otel-sentry receiver: takes Sentry envelopes (POST /api/1/envelope/ or /stream)"
    " and OTLP over HTTP (POST /v1/traces).\n"
)


class PortTakenError(OSError):
    """Another program listens on the port."""


@dataclass(frozen=True)
class Request:
    """
    What came in.

    Attributes:
        method: "GET" or "POST".
        path: Without the query string.
        headers: By lower-case name.
        body: Decompressed.
        items: What was read from the body.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    items: tuple[Item, ...] = ()


class Receiver:
    """
    A threaded HTTP server that takes Sentry envelopes and OTLP; a context manager.

    Args:
        port: 0 picks a free one.
        host: An IPv4 loopback address.
        on_item: Is called with each item, on the thread that serves the connection.
        respond: Answers a well-formed request instead of the receiver; None answers as usual.
            The request's items are kept before it is asked.
        on_refused: Is called with one line for each request that was refused.
        keep: At most this many items and requests are kept; the oldest go first.

    Raises:
        ValueError: The host is not this machine's own.
        PortTakenError: On start, if another program listens on the port.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        on_item: Callable[[Item], None] | None = None,
        respond: Callable[[Request], Response | None] | None = None,
        on_refused: Callable[[str], None] | None = None,
        keep: int = 10_000,
    ) -> None:
        if not _is_loopback(host):
            message = f"host={host!r} is not an IPv4 loopback address: use 127.0.0.1"
            raise ValueError(message)
        self._address = (host, port)
        self._on_item = on_item
        self._on_refused = on_refused
        self._respond = respond
        self._changed = threading.Condition()
        self._items: _Kept[Item] = _Kept(keep)
        self._requests: _Kept[Request] = _Kept(keep)
        self._refused = 0
        self._closing = threading.Event()
        self._server: Server | None = None

    def start(self) -> Self:
        """Listen; needed only where `with` does not fit."""
        try:
            self._server = Server(self._address, self._serve, self._count_refusal)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            message = f"port {self._address[1]} is taken by another program"
            raise PortTakenError(errno.EADDRINUSE, message) from error
        self._server.start()
        return self

    def close(self) -> None:
        """Stop listening and end the open connections; what was received stays readable."""
        self._closing.set()
        if self._server is not None:
            self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            message = "the receiver is not started: use `with Receiver() as receiver:`"
            raise RuntimeError(message)
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{self._address[0]}:{self.port}"

    @property
    def dsn(self) -> str:
        """A DSN that sends here."""
        return f"http://public@{self._address[0]}:{self.port}/1"

    @property
    def otlp_endpoint(self) -> str:
        """Where OTLP traces go; OTEL_EXPORTER_OTLP_ENDPOINT wants `url` instead."""
        return f"{self.url}/v1/traces"

    @property
    def items(self) -> list[Item]:
        """What was received, oldest first."""
        with self._changed:
            return self._items.list()

    @property
    def requests(self) -> list[Request]:
        """The well-formed requests, oldest first."""
        with self._changed:
            return self._requests.list()

    @property
    def bodies(self) -> list[bytes]:
        """The decompressed bodies of `requests`."""
        return [request.body for request in self.requests]

    @property
    def refused(self) -> int:
        """How many requests were refused: malformed, too large, unknown."""
        return self._refused

    def transactions(self) -> list[dict[str, Any]]:
        """Return the transaction events."""
        return self._payloads("transaction")

    def errors(self) -> list[dict[str, Any]]:
        """Return the error and message events."""
        return self._payloads("error")

    def spans(self) -> list[dict[str, Any]]:
        """Return the OTLP spans, one flat object each."""
        return self._payloads("otlp_span")

    def wait_for(
        self, predicate: Callable[[Receiver], T], timeout: float = 10, what: str = ""
    ) -> T:
        """
        Block until the predicate returns something true, and return that.

        Raises:
            TimeoutError: It did not within `timeout` seconds; lists what was received instead.
        """
        with self._changed:
            result = self._changed.wait_for(lambda: predicate(self), timeout)
            if not result:
                message = f"no {what or 'match'} within {timeout} s; received {self._summary()}"
                raise TimeoutError(message)
            return result

    def _payloads(self, kind: str) -> list[dict[str, Any]]:
        return [item.fields for item in self.items if item.kind == kind]

    def _summary(self) -> str:
        kinds = Counter(item.kind for item in self.items)
        parts = [f"{count} {kind}" for kind, count in kinds.items()] or ["nothing"]
        names = [str(event.get("transaction")) for event in self.transactions()[-10:]]
        transactions = f" (last transactions: {', '.join(names)})" if names else ""
        return f"{', '.join(parts)}{transactions}, refused {self._refused}"

    def _serve(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Read one request, keep what it holds, and answer it."""
        path = path.partition("?")[0]
        if method == "GET" and path in {"/", "/health"}:
            return Response(headers={"Content-Type": "text/plain"}, body=_ABOUT.encode())
        if method != "POST" or not (_ENVELOPE.fullmatch(path) or _OTLP.fullmatch(path)):
            raise Refused(
                404, "not found: this receiver takes POST /api/1/envelope/ and /v1/traces"
            )
        body = decompress(body, headers.get("content-encoding", ""), _MAX_DECOMPRESSED_BYTES)
        items, response = _read(path, headers, body)
        request = Request(method, path, headers, body, tuple(items))
        self._keep(request)
        response = (self._respond(request) if self._respond else None) or response
        self._closing.wait(response.delay)
        return response

    def _keep(self, request: Request) -> None:
        share = len(request.body) // (len(request.items) or 1)
        with self._changed:
            self._requests.add(request, len(request.body))
            for item in request.items:
                self._items.add(item, share)
            self._changed.notify_all()
        if self._on_item is not None:
            for item in request.items:
                self._on_item(item)

    def _count_refusal(self, reason: str) -> None:
        with self._changed:
            self._refused += 1
            self._changed.notify_all()
        if self._on_refused is not None:
            self._on_refused(reason)


class _Kept(Generic[T]):
    """The last things that arrived, bounded in number and in bytes; the newest always stays."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._things: deque[tuple[int, T]] = deque()
        self._bytes = 0

    def add(self, thing: T, size: int) -> None:
        self._things.append((size, thing))
        self._bytes += size
        while len(self._things) > self._limit or (
            self._bytes > _KEPT_BYTES and len(self._things) > 1
        ):
            self._bytes -= self._things.popleft()[0]

    def list(self) -> list[T]:
        return [thing for _, thing in self._things]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


def _read(path: str, headers: Mapping[str, str], body: bytes) -> tuple[list[Item], Response]:
    """Return what the body holds, and the answer of the endpoint."""
    otlp = _OTLP.fullmatch(path)
    if otlp is None:
        envelope_headers, items = parse_envelope(body, path)
        answer = json.dumps({"id": envelope_headers.get("event_id")}).encode()
        return items, Response(headers={"Content-Type": "application/json"}, body=answer)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in _OTLP_TYPES:
        raise Refused(415, "OTLP is application/x-protobuf or application/json")
    if otlp["signal"] == "traces":
        items = parse_traces(body, content_type, path)
    else:
        items = [Item(f"otlp_{otlp['signal']}", body, path=path)]
    # An ExportTraceServiceResponse that rejects nothing is empty; Sentry answers 202
    # (docs.sentry.io/concepts/otlp).
    answer = b"{}" if content_type == "application/json" else b""
    status = 202 if otlp["sentry"] else 200
    return items, Response(status, {"Content-Type": content_type}, answer)
