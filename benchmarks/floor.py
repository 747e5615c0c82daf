"""
The least that sends a transaction for each request: always the same one, or the plainest.

What both leave out is what otel-sentry is for: putting spans into Sentry's words, taking secrets
out, what Sentry's scopes hold, limits, and all that happens where the far end does not answer at
once.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
from queue import SimpleQueue
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind

_ROOTS = frozenset({SpanKind.SERVER, SpanKind.CONSUMER})
_LEVEL = 3  # of compression, as ours
_CHILDREN = 5  # as many as a request to the service has
_SPAN = {
    "trace_id": "0123456789abcdef0123456789abcdef",
    "span_id": "0123456789abcdef",
    "op": "db",
    "description": "SELECT items.id, items.name FROM items WHERE items.id = ?",
    "start_timestamp": 1e9,
    "timestamp": 1e9,
    "data": {f"db.attribute.{number}": "value" for number in range(10)},
}
_TRANSACTION = {
    "type": "transaction",
    "transaction": "GET /items/{item_id}",
    "start_timestamp": 1e9,
    "timestamp": 1e9,
    "contexts": {"trace": _SPAN},
    "spans": [_SPAN] * _CHILDREN,
}


class Poster(SpanProcessor):
    """
    Post the same bytes for each request and task, from one thread of each process.

    Args:
        dsn: Of the far end, which answers at once and in one piece.
    """

    def __init__(self, dsn: str) -> None:
        url = urlsplit(dsn)
        self._address = (url.hostname, url.port)
        self._head = (
            f"POST /api{url.path}/envelope/ HTTP/1.1\r\nHost: {url.hostname}\r\n"
            "Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        )
        self._request = self._written(_TRANSACTION)
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._queue: SimpleQueue = SimpleQueue()
        self._started = False

    def _written(self, transaction: dict) -> bytes:
        item = json.dumps(transaction).encode()
        envelope = b'{}\n{"type":"transaction","length":%d}\n%b\n' % (len(item), item)
        body = gzip.compress(envelope, _LEVEL)
        return (self._head % len(body)).encode() + body

    def on_end(self, span) -> None:
        """Have a request or a task posted."""
        if span.kind in _ROOTS:
            self._submit(span)

    def _submit(self, work) -> None:
        self._queue.put(work)
        if not self._started:
            self._started = True
            threading.Thread(target=self._post, daemon=True).start()

    def _post(self) -> None:
        with socket.create_connection(self._address) as connection:
            while True:
                work = self._queue.get()
                if isinstance(work, threading.Event):
                    work.set()
                    continue
                connection.sendall(self._request_of(work))
                connection.recv(4096)

    def _request_of(self, _work) -> bytes:
        return self._request

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all was posted."""
        if not self._started:
            return True
        waiter = threading.Event()
        self._queue.put(waiter)
        return waiter.wait(timeout_millis / 1000)


class Writer(Poster):
    """Post what the spans of each request and task say, as they say it, in the same way."""

    def _begin(self) -> None:
        super()._begin()
        self._open: dict[int, list] = {}  # by trace; a benchmark ends every root

    def on_end(self, span) -> None:
        """Keep a span; have the whole of a request or a task posted."""
        trace_id = span.context.trace_id
        if span.kind in _ROOTS:
            self._submit((span, self._open.pop(trace_id, ())))
        else:
            self._open.setdefault(trace_id, []).append(span)

    def _request_of(self, work) -> bytes:
        root, children = work
        transaction = {
            "type": "transaction",
            "transaction": root.name,
            "start_timestamp": root.start_time / 1e9,
            "timestamp": root.end_time / 1e9,
            "contexts": {"trace": _plainest(root)},
            "spans": [_plainest(child) for child in children],
        }
        return self._written(transaction)


def _plainest(span) -> dict:
    return {
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "op": span.kind.name,
        "description": span.name,
        "start_timestamp": span.start_time / 1e9,
        "timestamp": span.end_time / 1e9,
        "data": span.attributes.copy(),
    }
