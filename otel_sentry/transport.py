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
from datetime import datetime, timedelta, timezone
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
from sentry_sdk.transport import HttpTransport

from otel_sentry._background import after_fork_in_child
from otel_sentry._delivery import DeliveryWorker
from otel_sentry._http import Connections, read_certificates_once
from otel_sentry._json import encode
from otel_sentry._logging import logger
from otel_sentry._sentry_sdk import COUNTS_SPANS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope, Item
    from sentry_sdk.transport import Transport
    from sentry_sdk.worker import Worker

_MAX_RATE_LIMITS = 64
"""Bound of the rate limits that are remembered; Sentry has about twenty categories."""

_BACKOFF_SECONDS = 60
"""Where an answer of 429 names no time that can be read."""

_LAST_SECONDS = 0.2
"""How long a flush may take where the time that all share at the end is over."""

_SAY_AGAIN_SECONDS = 60.0

# A gzip header, a window of 8 KiB, and little memory: zlib's own defaults clear 256 KiB for each
# envelope, which takes twice as long as to compress one, and save not a byte on it; on one of a
# thousand spans a quarter of a per cent.
_SMALL_GZIP = (16 + 13, 6)


class SentryTransport(HttpTransport):
    """sentry-sdk's HTTP transport with several senders; see the module."""

    CONNECTIONS = 16

    before_flush: Callable[[float], Any] | None = None
    """Called with the timeout before a flush: what is being built belongs to it, too."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._counting = threading.RLock()
        self._connecting = threading.Lock()
        self._direct: dict[Any, tuple[Connections, str]] = {}  # bound: the kinds of endpoint, two
        self._silent_until = 0.0
        self._end_by: float | None = None  # at the interpreter's end
        self._heir: Transport | None = None
        super().__init__(options)
        # sentry-sdk makes a record for each envelope, for a filter to throw away.
        level = logging.DEBUG if options.get("debug") else logging.INFO
        logging.getLogger("sentry_sdk.errors").setLevel(level)
        after_fork_in_child(self._after_fork_in_child)

    def _after_fork_in_child(self) -> None:
        """Share no connection with the parent, and send nothing that it will send."""
        self._counting = threading.RLock()
        self._connecting = threading.Lock()
        self._direct = {}
        self._worker = self._create_worker(self.options)
        self._discarded_events.clear()
        self._pool = self._make_pool()

    def _create_worker(self, options: dict[str, Any]) -> Worker:  # noqa: ARG002
        return DeliveryWorker(self.CONNECTIONS)

    def _get_pool_options(self) -> dict[str, Any]:
        return {**super()._get_pool_options(), "maxsize": self.CONNECTIONS + 1}

    def _request(self, method: str, endpoint_type: Any, body: Any, headers: Any) -> Any:
        """Post over a connection to the one host there is; through a proxy as sentry-sdk does."""
        if self._auth.scheme == "https":
            with self._connecting:
                read_certificates_once(self._pool)
        if type(self._pool) is not urllib3.PoolManager:  # a proxy
            return super()._request(method, endpoint_type, body, headers)
        if endpoint_type not in self._direct:
            url = self._auth.get_api_url(endpoint_type)
            direct = Connections(self._pool.connection_from_url(url))
            self._direct[endpoint_type] = (direct, urlsplit(url).path)
        connections, path = self._direct[endpoint_type]
        worker: Any = self._worker
        return connections.post(path, body, headers, worker.seconds_left())

    def _update_rate_limits(self, response: Any) -> None:
        with self._counting:
            try:
                super()._update_rate_limits(response)
            except Exception:  # noqa: BLE001 - whatever the far end may have written there
                if response.status == HTTPStatus.TOO_MANY_REQUESTS and not self._is_rate_limited():
                    until = datetime.now(timezone.utc) + timedelta(seconds=_BACKOFF_SECONDS)
                    self._disabled_until[None] = until
            while len(self._disabled_until) > _MAX_RATE_LIMITS:
                del self._disabled_until[next(iter(self._disabled_until))]

    def _handle_response(self, response: Any, envelope: Envelope | None) -> None:
        super()._handle_response(response, envelope)
        # Who answers 429 has counted what it refused, but not what a report of ours says.
        if response.status == HTTPStatus.TOO_MANY_REQUESTS and envelope is not None:
            reports = [item for item in envelope.items if item.type == "client_report"]
            if len(reports) == len(envelope.items):
                for report in reports:
                    self.record_lost_event("ratelimit_backoff", item=report)

    def _serialize_envelope(self, envelope: Envelope) -> tuple[str | None, io.BytesIO]:
        try:
            return self._pack(envelope)
        except Exception:
            # Here, and not where it is called: this is without what a limit has taken out, and with
            # the report of what was lost before.
            for item in envelope.items:
                self.record_lost_event("internal_sdk_error", item=item)
            raise

    def _pack(self, envelope: Envelope) -> tuple[str | None, io.BytesIO]:
        if self._compression_algo != "gzip" or self._compression_level == 0:
            return super()._serialize_envelope(envelope)
        compress = zlib.compressobj(self._compression_level, zlib.DEFLATED, *_SMALL_GZIP)
        written = io.BytesIO()
        # As Envelope.serialize() does, which makes an encoder of JSON for each header.
        written.write(f"{encode(envelope.headers)}\n".encode())
        for item in envelope.items:
            item.serialize_into(written)
        packed = compress.compress(written.getbuffer()) + compress.flush()
        return "gzip", io.BytesIO(packed)

    def capture_envelope(self, envelope: Envelope) -> None:
        """Queue an envelope; transactions, with what is attached to them, wait for all others."""
        urgent = all(item.data_category != "transaction" for item in envelope.items)
        worker: Any = self._worker
        # A transaction is bytes already; an error becomes them when it is sent.
        size = 0 if urgent else sum(len(item.get_bytes()) for item in envelope.items)
        if not worker.submit(partial(self._send, envelope), urgent=urgent, size=size):
            self.on_dropped_event("full_queue")
            for item in envelope.items:
                self.record_lost_event("queue_overflow", item=item)

    def _send(self, envelope: Envelope) -> None:
        self._send_envelope(envelope)
        self._flush_client_reports()

    def on_dropped_event(self, _reason: str) -> None:
        """Say once a minute that, and why, something does not reach Sentry."""
        now = time.monotonic()
        if now < self._silent_until:
            return
        self._silent_until = now + _SAY_AGAIN_SECONDS
        logger.warning(
            "Sentry does not take what is sent to it (%s). What is lost is counted in Sentry's"
            " client reports; the application is not affected.",
            _reason,
        )

    def record_lost_event(
        self,
        reason: str,
        data_category: Any = None,
        item: Item | None = None,
        *,
        quantity: int = 1,
    ) -> None:
        """Count what was lost; several senders do so at once."""
        if self._heir is not None:
            self._heir.record_lost_event(reason, data_category, item, quantity=quantity)
            return
        with self._counting:
            if item is not None and item.type == "client_report":
                self._count_again(item)
                return
            super().record_lost_event(reason, data_category, item, quantity=quantity)
            if item is not None and item.type == "transaction" and not COUNTS_SPANS:
                spans: Any = item.get_transaction_event()
                super().record_lost_event(reason, "span", quantity=1 + len(spans["spans"]))

    def _count_again(self, report: Item) -> None:
        """Keep the counts of a report that was lost itself: the next report has them."""
        counts: Any = report.payload.json
        for lost in counts["discarded_events"]:
            self._discarded_events[lost["category"], lost["reason"]] += lost["quantity"]

    def hand_over(self, heir: Transport) -> None:
        """Let another transport report what this one has lost, and still loses."""
        with self._counting:
            self._heir = heir
            for (category, reason), quantity in self._discarded_events.items():
                heir.record_lost_event(reason, category, quantity=quantity)
            self._discarded_events.clear()

    def kill(self) -> None:
        """End the senders after what they are sending; what waits is lost, and counted."""
        worker: Any = self._worker
        for send in worker.kill():
            for envelope in send.args:
                for item in envelope.items:
                    self.record_lost_event("network_error", item=item)

    def _fetch_pending_client_report(self, force: bool = False, interval: int = 60) -> Any:
        with self._counting:
            return super()._fetch_pending_client_report(force=force, interval=interval)

    def flush(  # type: ignore[override] # sentry-sdk's returns nothing
        self, timeout: float, callback: Callable[[int, float], None] | None = None
    ) -> bool:
        """Send everything queued; whether all left within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        main = threading.main_thread()
        if threading.current_thread() is main and not main.is_alive():
            # The interpreter ends, though other threads may go on: OpenTelemetry and sentry-sdk
            # flush one after the other.
            self._end_by = self._end_by or deadline
            timeout = max(self._end_by - time.monotonic(), _LAST_SECONDS)
            deadline = time.monotonic() + timeout
        if self.before_flush is not None:
            self.before_flush(timeout)
        worker: Any = self._worker
        # The report goes last, or what is lost meanwhile is not in it; it has a tenth of the time.
        worker.flush(max(0.0, deadline - timeout / 10 - time.monotonic()), callback)
        worker.submit(partial(self._flush_client_reports, force=True))
        return bool(worker.flush(max(0.0, deadline - time.monotonic())))


def transport_class(connections: int) -> type[SentryTransport]:
    """Return the transport with a limit of connections; sentry-sdk makes the instance."""
    return type("SentryTransport", (SentryTransport,), {"CONNECTIONS": connections})
