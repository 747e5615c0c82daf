"""Count the transactions that the trace rate left out, for Sentry's client reports."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from otel_sentry._background import after_fork_in_child

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 1000
"""Bound: so many are counted before a request hands them over itself."""


class Lost(Protocol):
    """Where the number goes."""

    def __call__(self, reason: str, /, *, transactions: int, spans: int) -> None:
        """Count what does not leave the process."""


class Unsampled:
    """
    A counter that costs a request nothing but an append; the background empties it.

    Each transaction counts as one span, too, as in sentry-sdk: nobody knows how many it would
    have had.
    """

    def __init__(self) -> None:
        # += is no atomic operation; append() and popleft() are.
        self._seen: deque[None] = deque()  # bound: _AT_ONCE, a little more with many threads
        self._lost: Lost | None = None
        self._add: Callable[[None], None] = self._seen.append
        after_fork_in_child(self._seen_by_parent)

    def _seen_by_parent(self) -> None:
        self._seen.clear()

    def report_to(self, lost: Lost) -> None:
        """Name the far end; without one nothing is counted."""
        self._lost = lost

    def add(self) -> None:
        """Count one transaction."""
        if self._lost is None:
            return
        self._add(None)
        if len(self._seen) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Hand the number over."""
        number = 0
        try:
            while True:
                self._seen.popleft()
                number += 1
        except IndexError:
            pass
        if number and self._lost is not None:
            self._lost("sample_rate", transactions=number, spans=number)
