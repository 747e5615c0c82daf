"""Hand what is finished to an exporter, in batches, from one background thread."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from otel_sentry._background import after_fork_in_child, begin, start_thread
from otel_sentry._logging import logger, report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHUTDOWN_SECONDS = 2.0
"""How long the end of the process may take for what is queued."""

_WARN_AFTER_SECONDS = 60.0
_LAST_SECONDS = 0.1  # for the end of an exporter where what was queued has taken all the time
_PAUSE_SECONDS = 0.1  # between two attempts, at least
_DELAY_MILLIS = {"OTEL_BSP": 5000, "OTEL_BLRP": 1000}


@dataclass(frozen=True)
class Limits:
    """How spans are batched; the defaults are those of OpenTelemetry's specification."""

    max_queue: int = 2048
    """Spans that wait, at most; what comes while so many wait is lost and counted."""

    max_batch: int = 512
    delay: float = 5.0
    """Seconds after which a batch goes that is not full."""

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], prefix: str = "OTEL_BSP", *, max_batch: int | None = None
    ) -> Limits:
        """
        Read ``OTEL_BSP_*`` (spans) or ``OTEL_BLRP_*`` (logs); a bad value warns and is not used.

        Args:
            environ: The environment.
            prefix: Of the variables.
            max_batch: What the far end takes at once.
        """
        queue = _positive(environ, f"{prefix}_MAX_QUEUE_SIZE", cls.max_queue)
        batch = _positive(environ, f"{prefix}_MAX_EXPORT_BATCH_SIZE", cls.max_batch)
        delay = _positive(environ, f"{prefix}_SCHEDULE_DELAY", _DELAY_MILLIS[prefix])
        return cls(queue, min(batch, queue, max_batch or batch), delay / 1000)


def _positive(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and int(text[:10]) > 0:
        return int(text[:10])
    logger.warning(
        "%s=%s is ignored: it is no whole number above 0. Using %d instead.", name, text, default
    )
    return default


class Exporter(Protocol):
    """What OpenTelemetry's exporters of spans and of log records have in common."""

    def export(self, batch: Any, /) -> Any:
        """Send a batch; the name of the result is SUCCESS or FAILURE."""

    def shutdown(self) -> Any:
        """End what is under way."""


class Lost(Protocol):
    """Where lost spans are counted."""

    def __call__(self, spans: int, reason: str) -> None:
        """Count; ``reason`` is one of those of Sentry's client reports."""


_live: weakref.WeakSet[BatchQueue] = weakref.WeakSet()


def live_queues() -> list[BatchQueue]:
    """Return the queues of this process: one for each backend that has one, one for logs."""
    return list(_live)


class BatchQueue:
    """
    Queue finished spans, or log records, and export them in a background thread.

    What OpenTelemetry's BatchProcessor lacks: flush and shutdown end in time, what is lost is
    counted, a batch that could not be sent at all is kept for the next attempt, and a child
    process gets an exporter of its own. The thread starts with the first of them.

    Args:
        make_exporter: Makes the exporter: now, and again in each child process. An exporter may
            have an attribute ``retry_at``: ``None`` where its last batch is lost or sent, else the
            time (``time.monotonic()``) from which on it is worth another attempt.
        destination: Where spans go, for the warning about lost ones; without secrets.
        limits: How spans are batched.
        lost: Is told of lost spans.
        lazily: Make the exporter in the background thread, with the first batch.
        what: What is queued, for that warning.
    """

    def __init__(
        self,
        make_exporter: Callable[[], Exporter],
        destination: str,
        limits: Limits | None = None,
        lost: Lost = lambda *_: None,
        *,
        lazily: bool = False,
        what: str = "spans",
    ) -> None:
        self._make_exporter = make_exporter
        self._destination = destination
        self._limits = limits or Limits()
        self._lost = lost
        self._what = what
        self._generation = 0
        self._exporter: Exporter | None = None
        self._reset()
        if not lazily:
            self._exporter = make_exporter()
        after_fork_in_child(self._after_fork_in_child)
        _live.add(self)

    def _reset(self) -> None:
        # Re-entrant: a span may be ended by the garbage collector, in the middle of on_end().
        self._wake = threading.Condition(threading.RLock())
        self._queue: deque[Any] = deque()  # bound: max_queue, and one batch put back
        self._exporter = None
        self._thread: threading.Thread | None = None
        self._starting = False  # that thread
        self._flushing = 0
        self._sending = 0  # spans of the batch that the exporter has
        self._counting = 0  # spans of a batch that is lost, and about to be counted
        self._settled = 0  # spans sent or lost since the start
        self._not_before: float | None = None  # the far end wants nothing earlier
        self._told = False  # that a batch is full
        self._closed = False
        self._given_up = False
        self._uncounted = 0  # lost since the last warning
        self._warned_at = float("-inf")

    def _after_fork_in_child(self) -> None:
        """Start afresh: what is queued is the parent's to send, and so are its connections."""
        self._generation += 1
        self._reset()

    def put(self, item: Any) -> None:
        """Queue a span or log record; never waits for anything."""
        queue = self._queue
        if self._closed or len(queue) >= self._limits.max_queue:
            self._count_lost(1, "queue_overflow")
            return
        queue.append(item)
        if self._thread is None:
            self._start()
        elif len(queue) >= self._limits.max_batch and not self._told:
            with self._wake:
                self._told = True
                self._wake.notify_all()

    def _start(self) -> None:
        with self._wake:
            if self._thread is not None or self._starting or self._closed:
                return
            self._starting = True  # the garbage collector may end a span meanwhile
            try:
                # Stays None while the interpreter shuts down; shutdown() sends in its caller then.
                self._thread = start_thread(self._run, "otel-sentry.batches")
            finally:
                self._starting = False

    def _run(self) -> None:
        generation = self._generation
        while generation == self._generation:
            with self._wake:
                self._wait()
                if self._closed and (self._given_up or not self._queue):
                    self._thread = None
                    self._wake.notify_all()
                    return
            self._send_batch()

    def _wait(self) -> None:
        """Wait until a batch is full, or due; with a flush under way all that is queued is due."""
        due = time.monotonic() + self._limits.delay
        while True:
            self._told = False  # first this, then the length: who makes it a batch says so
            if len(self._queue) >= self._limits.max_batch or self._closed:
                break
            wait = due - time.monotonic()
            if wait <= 0 or (self._flushing and self._queue):
                break
            self._wake.wait(wait)
        # What the far end asked for holds whatever is due; the end of the process does not wait.
        while self._not_before is not None and not self._closed:
            wait = self._not_before - time.monotonic()
            if wait <= 0:
                break
            self._wake.wait(wait)

    def _send_batch(self) -> None:
        with self._wake:
            size = min(len(self._queue), self._limits.max_batch)
            batch = [self._queue.popleft() for _ in range(size)]
            self._sending = size
        sent = False
        if batch:
            try:
                if self._exporter is None:
                    self._exporter = self._make_exporter()
                sent = self._exporter.export(batch).name == "SUCCESS"
            except Exception as error:  # noqa: BLE001 - the thread must live
                report(f"exporting {self._what} to {self._destination}", error)
        lost = 0
        with self._wake:
            retry_at = getattr(self._exporter, "retry_at", None)
            self._not_before = retry_at
            if not sent and retry_at is not None and not self._given_up:
                self._not_before = max(retry_at, time.monotonic() + _PAUSE_SECONDS)
                self._queue.extendleft(reversed(batch))
            elif sent or self._given_up:
                self._settled += size
            else:
                self._counting = lost = size
            self._sending = 0
            self._wake.notify_all()
        if not lost:
            return
        # Not while the lock is held: a handler of the application's log takes its own lock, and who
        # has that may be about to put a log record here.
        self._count_lost(lost, "network_error")
        with self._wake:
            self._counting = 0
            self._settled += lost
            self._wake.notify_all()

    def _count_lost(self, spans: int, reason: str) -> None:
        """Count, and say so: at once, then once a minute."""
        self._lost(spans, reason)
        now = time.monotonic()
        with self._wake:
            self._uncounted += spans
            if not self._uncounted or now - self._warned_at < _WARN_AFTER_SECONDS:
                return
            self._warned_at = now
        self._say_lost()

    def _say_lost(self) -> None:
        with self._wake:
            spans, self._uncounted = self._uncounted, 0
        if spans:
            logger.warning(
                "%d %s did not reach %s and are lost. Is it up, and fast enough?",
                spans,
                self._what,
                self._destination,
            )

    def begin_flush(self) -> Callable[[float], bool]:
        """
        Let everything that is queued now go; returns at once.

        Returns:
            A function that waits until all of it was sent, for so many seconds at most, and
            returns whether it was.
        """
        with self._wake:
            target = self._settled + self._counting + self._sending + len(self._queue)
            self._flushing += 1
            self._wake.notify_all()

        def wait(seconds: float) -> bool:
            deadline = time.monotonic() + seconds
            with self._wake:
                if self._thread is None and self._queue:
                    self._start()
                try:
                    while self._settled < target and self._thread is not None:
                        left = deadline - time.monotonic()
                        if left <= 0:
                            return False
                        self._wake.wait(left)
                finally:
                    self._flushing -= 1
            while self._queue and self._thread is None and time.monotonic() < deadline:
                self._send_batch()  # no thread could be started: the interpreter is shutting down
            return self._settled >= target

        return wait

    def begin_shutdown(self) -> Callable[[float], bool]:
        """As :meth:`begin_flush`; what is left when the returned function returns is lost."""
        if self._closed:
            return lambda _: True
        wait = self.begin_flush()
        with self._wake:
            self._closed = True
            self._wake.notify_all()

        def finish(seconds: float) -> bool:
            deadline = time.monotonic() + seconds
            done = wait(seconds)
            with self._wake:
                self._given_up = True
                left = len(self._queue) + self._sending
                self._uncounted += left
                self._wake.notify_all()
            if left:
                self._lost(left, "network_error")
            self._say_lost()
            if self._exporter is not None:
                ended = begin(f"ending {self._destination}", self._exporter.shutdown)
                ended(max(_LAST_SECONDS, deadline - time.monotonic()))
            return done

        return finish
