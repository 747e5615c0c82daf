"""Ids and times that are the same in each run."""

from __future__ import annotations

import threading

from opentelemetry.sdk.trace.id_generator import IdGenerator

_START = 1_704_067_200_000_000_000  # 2024-01-01T00:00:00Z
_STEP = 1_000_000
_NANOSECONDS = 1_000_000_000


class Clock:
    """A clock that goes on by a millisecond each time it is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = _START

    def __call__(self) -> int:
        """Return the time, in nanoseconds since the epoch."""
        with self._lock:
            now, self._now = self._now, self._now + _STEP
            return now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now += int(seconds * _NANOSECONDS)

    def seconds(self) -> float:
        """Return the time as Sentry's events have it, in seconds since the epoch."""
        return self() / _NANOSECONDS


class CountingIds(IdGenerator):
    """Ids 1, 2, 3, ... for traces, and for spans."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traces = self._spans = 0

    def generate_trace_id(self) -> int:
        """Return the next one, as a number of 128 bits."""
        with self._lock:
            self._traces += 1
            return self._traces

    def generate_span_id(self) -> int:
        """Return the next one, as a number of 64 bits."""
        with self._lock:
            self._spans += 1
            return self._spans
