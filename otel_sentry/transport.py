"""
Deliver envelopes to Sentry over several connections at once, errors first.

sentry-sdk's transport has one sender thread and a queue of 100: with Sentry 50 ms away it delivers
about 20 transactions a second and drops the rest. Rate limits, proxies, TLS options, compression
and client reports stay sentry-sdk's.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
from sentry_sdk import Scope
from sentry_sdk.client import BaseClient
from sentry_sdk.transport import HttpTransport
from sentry_sdk.utils import capture_internal_exceptions
from sentry_sdk.worker import Worker

from otel_sentry._background import after_fork_in_child, start_thread
from otel_sentry._http import read_answers_fast

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope

MAX_QUEUED_TRANSACTIONS = 1000
"""Bound of the queue of transactions, in envelopes."""

MAX_QUEUED_ERRORS = 1000
"""Bound of the queue of everything else, in envelopes."""

_IDLE_SECONDS = 10.0

_PATIENCE_SECONDS = 0.1
"""How long a flush takes before it says that it takes long."""

_LAG_SECONDS = 0.1
"""How long the oldest transaction waits before one more connection is used."""

# A gzip header, a window of 8 KiB, and little memory: zlib's own defaults clear 256 KiB for each
# envelope, which takes four times as long as to compress one, and save not a byte on it.
_SMALL_GZIP = (16 + 13, 7)


class _Deaf(BaseClient):
    """A client without integrations: what happens in a thread that has it is not recorded."""

    def is_active(self) -> bool:
        return True


class DeliveryWorker(Worker):
    """
    Run submitted sends in up to ``connections`` threads, opened as the queue asks for them.

    Urgent ones (errors) are taken first. While one thread keeps up the others sleep: threads that
    take turns run with cold caches and cost twice as much. One of them watches, so that a request
    that hangs holds up nothing else for long.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        # Re-entrant: a log call inside may be captured, and end up in submit() again.
        self._lock = threading.RLock()
        # One for each idle thread, the last one idle last: it is woken first, its caches are warm.
        self._waiting: list[threading.Condition] = []  # bound: connections
        self._sent = threading.Condition(self._lock)
        self._urgent: deque[Callable[[], Any]] = deque()  # bound: MAX_QUEUED_ERRORS
        self._other: deque[tuple[float, Callable[[], Any]]] = deque()
        """With the time of submission; bound: MAX_QUEUED_TRANSACTIONS."""

        self._threads = 0  # bound: connections
        self._idle = 0
        self._flushing = 0
        self._killed = False

    @property
    def is_alive(self) -> bool:
        """Whether a sender thread runs."""
        return self._threads > 0

    def full(self) -> bool:
        """Whether the next transaction would be dropped."""
        return len(self._other) >= MAX_QUEUED_TRANSACTIONS

    def submit(self, callback: Callable[[], Any], *, urgent: bool = True) -> bool:
        """Queue a send; ``False`` where there is no room, and it must be counted."""
        with self._lock:
            if urgent:
                if len(self._urgent) >= MAX_QUEUED_ERRORS:
                    return False
                self._urgent.append(callback)
            else:
                if self.full():
                    return False
                self._other.append((time.monotonic(), callback))
            if not self._idle:
                self._start_thread()
            elif urgent or len(self._other) == 1 or self._idle == self._threads:
                self._wake(self._waiting[-1:])
        return True

    def _wake(self, waiting: list[threading.Condition]) -> None:
        for condition in waiting:
            condition.notify()

    def _start_thread(self) -> None:
        if self._threads >= self._connections:
            return
        if start_thread(self._run, "otel-sentry.sender") is None:
            return
        self._threads += 1
        self._idle += 1  # until it takes its first send

    def _run(self) -> None:
        # Requests to Sentry leave no breadcrumb and no event either.
        Scope.set_current_scope(Scope())
        Scope.get_current_scope().set_client(_Deaf())
        wake = threading.Condition(self._lock)
        while (send := self._take(wake)) is not None:
            with capture_internal_exceptions():
                send()
            del send  # it holds an envelope
            with self._lock:
                self._idle += 1
                self._sent.notify_all()

    def _take(self, wake: threading.Condition) -> Callable[[], Any] | None:
        """Wait for something to send; ``None`` after having had nothing to do for long."""
        with self._lock:
            while not self._killed:
                send = self._next()
                if send is not None:
                    self._idle -= 1
                    if not self._idle and (self._urgent or self._other):
                        self._start_thread()  # one that watches
                    return send
                self._waiting.append(wake)
                woken = wake.wait(self._lag() if self._other else _IDLE_SECONDS)
                self._waiting.remove(wake)
                if not (woken or self._other):
                    break
            self._threads -= 1
            self._idle -= 1
            self._sent.notify_all()
            return None

    def _next(self) -> Callable[[], Any] | None:
        if self._urgent:
            return self._urgent.popleft()
        alone = self._idle == self._threads
        if self._other and (alone or self._flushing or self._lag() <= 0):
            return self._other.popleft()[1]
        return None

    def _lag(self) -> float:
        """Return the seconds until the thread that sends is found to be too slow."""
        return self._other[0][0] + _LAG_SECONDS - time.monotonic()

    def flush(  # type: ignore[override] # sentry-sdk's returns nothing
        self, timeout: float, callback: Callable[[int, float], Any] | None = None
    ) -> bool:
        """Wait until everything submitted was sent; whether it was, within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._lock:
            self._flushing += 1
            self._wake(self._waiting)
            try:
                if not self._wait_until_sent(min(deadline, time.monotonic() + _PATIENCE_SECONDS)):
                    if callback is not None:
                        callback(self._pending(), timeout)
                    return self._wait_until_sent(deadline)
            finally:
                self._flushing -= 1
        return True

    def _wait_until_sent(self, deadline: float) -> bool:
        while self._pending():
            wait = deadline - time.monotonic()
            if wait <= 0 or not self._threads:
                return False
            self._sent.wait(wait)
        return True

    def _pending(self) -> int:
        return len(self._urgent) + len(self._other) + self._threads - self._idle

    def kill(self) -> None:
        """Let the threads end after what they are sending; the queue is dropped."""
        with self._lock:
            self._killed = True
            self._urgent.clear()
            self._other.clear()
            self._wake(self._waiting)


class SentryTransport(HttpTransport):
    """sentry-sdk's HTTP transport with several senders; see the module."""

    CONNECTIONS = 16

    before_flush: Callable[[float], Any] | None = None
    """Called with the timeout before a flush: what is being built belongs to it, too."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._counting = threading.RLock()
        self._direct: dict[Any, tuple[Any, str]] = {}  # bound: the kinds of endpoint, two
        super().__init__(options)
        # sentry-sdk makes a record for each envelope, for a filter to throw away.
        level = logging.DEBUG if options.get("debug") else logging.INFO
        logging.getLogger("sentry_sdk.errors").setLevel(level)
        after_fork_in_child(self._after_fork_in_child)

    def _after_fork_in_child(self) -> None:
        """Share no connection with the parent, and send nothing that it will send."""
        self._counting = threading.RLock()
        self._direct = {}
        self._worker = self._create_worker(self.options)
        self._discarded_events.clear()
        self._pool = self._make_pool()

    def _create_worker(self, options: dict[str, Any]) -> Worker:  # noqa: ARG002
        return DeliveryWorker(self.CONNECTIONS)

    def _get_pool_options(self) -> dict[str, Any]:
        return {**super()._get_pool_options(), "maxsize": self.CONNECTIONS}

    def _request(self, method: str, endpoint_type: Any, body: Any, headers: Any) -> Any:
        """
        Post through the connection pool of the one host there is.

        Finding that pool again for each request costs urllib3's pool manager half of the request.
        """
        if type(self._pool) is not urllib3.PoolManager:  # a proxy
            return super()._request(method, endpoint_type, body, headers)
        if endpoint_type not in self._direct:
            url = self._auth.get_api_url(endpoint_type)
            direct = self._pool.connection_from_url(url)
            read_answers_fast(direct)
            self._direct[endpoint_type] = (direct, urlsplit(url).path)
        pool, path = self._direct[endpoint_type]
        return pool.urlopen(method, path, body=body, headers=headers, retries=False)

    def _serialize_envelope(self, envelope: Envelope) -> tuple[str | None, io.BytesIO]:
        if self._compression_algo != "gzip" or self._compression_level == 0:
            return super()._serialize_envelope(envelope)
        compress = zlib.compressobj(self._compression_level, zlib.DEFLATED, *_SMALL_GZIP)
        packed = compress.compress(envelope.serialize()) + compress.flush()
        return "gzip", io.BytesIO(packed)

    def capture_envelope(self, envelope: Envelope) -> None:
        """Queue an envelope; transactions wait for everything else."""

        def send() -> None:
            self._send_envelope(envelope)
            self._flush_client_reports()

        urgent = any(item.data_category != "transaction" for item in envelope.items)
        worker: Any = self._worker
        if not worker.submit(send, urgent=urgent):
            self.on_dropped_event("full_queue")
            for item in envelope.items:
                self.record_lost_event("queue_overflow", item=item)

    def record_lost_event(self, *args: Any, **kwargs: Any) -> None:
        """Count what was lost; several senders do so at once."""
        with self._counting:
            super().record_lost_event(*args, **kwargs)

    def _fetch_pending_client_report(self, force: bool = False, interval: int = 60) -> Any:
        with self._counting:
            return super()._fetch_pending_client_report(force=force, interval=interval)

    def flush(  # type: ignore[override] # sentry-sdk's returns nothing
        self, timeout: float, callback: Callable[[int, float], None] | None = None
    ) -> bool:
        """Send everything queued; whether all left within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        if self.before_flush is not None:
            self.before_flush(timeout)
        worker: Any = self._worker
        worker.submit(lambda: self._flush_client_reports(force=True))
        return bool(worker.flush(max(0.0, deadline - time.monotonic()), callback))


def transport_class(connections: int) -> type[SentryTransport]:
    """Return the transport with a limit of connections; sentry-sdk makes the instance."""
    return type("SentryTransport", (SentryTransport,), {"CONNECTIONS": connections})
