"""Keep what would be sent: a transport, and what makes each sentry-sdk client use it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from otel_sentry.errors.adoption import Adopter
from otel_sentry.transport import SentryTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.client import BaseClient
    from sentry_sdk.envelope import Envelope

    from otel_sentry.testing._clock import Clock


class Kept:
    """The items of envelopes, as they would be sent; it lives as long as its test."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.items: list[tuple[str, dict[str, Any]]] = []
        """Each with its kind: ``event``, ``transaction``, ``log``, ..."""

        self.lost: Counter[str] = Counter()
        """What was not sent, by category and reason: ``error: before_send``."""

    def add(self, envelope: Envelope) -> None:
        """Keep the items of an envelope."""
        for item in envelope.items:
            try:
                payload = json.loads(item.get_bytes())
            except ValueError:
                continue  # an attachment
            if item.type == "event":
                payload["timestamp"] = self._clock.seconds()
            with self._lock:
                self.items.append((str(item.type), payload))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the items of a kind, oldest first."""
        with self._lock:
            return [payload for item_kind, payload in self.items if item_kind == kind]


class KeepingTransport(SentryTransport):
    """Keeps instead of sending; no thread, no connection."""

    KEPT: Kept

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep the items."""
        self.KEPT.add(envelope)

    def record_lost_event(
        self,
        reason: str,
        data_category: str | None = None,
        item: Any = None,
        *,
        quantity: int = 1,
    ) -> None:
        """Count."""
        category = data_category or (item.data_category if item is not None else "")
        self.KEPT.lost[f"{category}: {reason}"] += quantity

    def flush(  # type: ignore[override] # sentry-sdk's returns nothing
        self,
        timeout: float,
        callback: Any = None,  # noqa: ARG002
    ) -> bool:
        """Wait for what is still being built."""
        if self.before_flush is not None:
            self.before_flush(timeout)
        return True


def keeping_in(kept: Kept) -> type[KeepingTransport]:
    """Return the transport that keeps there; sentry-sdk makes the instance."""
    return type("KeepingTransport", (KeepingTransport,), {"KEPT": kept})


class KeepingAdopter(Adopter):
    """
    Adopts each client, also one that the application makes by ``sentry_sdk.init()`` in the test.

    Nothing of the test leaves through any of them. :meth:`close` leaves them as they were.
    """

    transport: type[KeepingTransport]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._adopted: list[tuple[BaseClient, Callable[[], None]]] = []  # bound: those of one test
        self._closed = False

    def adopt(self, client: BaseClient) -> None:
        """Make the client one of ours until the end of the test."""
        if self._closed or any(known is client for known, _ in self._adopted):
            return
        self._adopted.append((client, _remember(client)))
        super().adopt(client)

    def _deliver(self, client: BaseClient) -> None:
        if not isinstance(client.transport, KeepingTransport):
            client.transport = self.transport(client.options)
        client.spotlight = None
        super()._deliver(client)

    def close(self) -> None:
        """Give the clients back what they had; adopt none any more."""
        self._closed = True
        while self._adopted:
            _, restore = self._adopted.pop()
            restore()


def _remember(client: BaseClient) -> Callable[[], None]:
    """Return a function that makes a client what it is now."""
    options, transport, spotlight = dict(client.options), client.transport, client.spotlight

    def restore() -> None:
        client.options.clear()
        client.options.update(options)
        client.transport, client.spotlight = transport, spotlight

    return restore
