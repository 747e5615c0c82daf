"""Build and send transactions in one background thread, from a bounded queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Protocol

from otel_sentry._background import after_fork_in_child, start_thread
from otel_sentry._logging import logger, report
from otel_sentry.transactions.segment import take_all
from otel_sentry.transactions.tree import grow

if TYPE_CHECKING:
    from contextvars import Context

    from otel_sentry.transactions.segment import Segment
    from otel_sentry.transactions.tree import Tree

GRACE_SECONDS = 0.1
"""
How long a segment waits in which spans are open: those that end soon after their root join.

All others are built at once: in the gap that a request has left, not while the next ones want the
interpreter. And what waits is promoted by the garbage collector, whose full collections stop the
application for tens of milliseconds.
"""

MAX_QUEUED_SPANS = 20_000
"""Bound of the queue, in spans: about 100 MB at most."""

_IDLE_SECONDS = 60.0


class Send(Protocol):
    """Where finished trees go, and where what is lost is counted."""

    def transaction(self, tree: Tree, context: Context) -> None:
        """Send a tree as one transaction; what cannot be sent is counted, and nothing raised."""

    def lost(self, reason: str, *, transactions: int, spans: int) -> None:
        """Count what does not leave the process (Sentry client reports)."""


class Assembler:
    """
    Take queued segments when they are due, and send them as transactions.

    The thread starts with the first segment, so a process that only forks has none.

    Args:
        send: Where transactions go.
        grace: Seconds that a segment waits whose root has ended, and other spans have not.
        max_queued_spans: Bound of the queue.
    """

    def __init__(
        self,
        send: Send,
        *,
        grace: float = GRACE_SECONDS,
        max_queued_spans: int = MAX_QUEUED_SPANS,
    ) -> None:
        self._send = send
        self._grace = grace
        self._max_queued_spans = max_queued_spans
        self.generation = 0
        self._reset()
        after_fork_in_child(self._after_fork_in_child)

    def _reset(self) -> None:
        # Re-entrant: a span may be ended by the garbage collector, in the middle of submit().
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        # A heap: when it is due, what tells apart those due at once, and how many spans it had.
        # Bound: max_queued_spans.
        self._queue: list[tuple[float, int, int, Segment, Context]] = []
        self._numbers = count()
        self._queued_spans = 0
        # Numbers of spans whose root was never ended. Appended to by the garbage collector, which
        # may run anywhere, so nothing but append() happens there. Bounded by the span processor.
        self.abandoned: deque[int] = deque()
        # Numbers of spans over the limit of a root that has not ended; one for a thousand spans.
        self.dropped: deque[int] = deque()
        self._flushing = 0
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._starting = False  # that thread

    def _after_fork_in_child(self) -> None:
        """Start afresh: what was buffered is the parent's to send."""
        self.generation += 1
        self._reset()

    def submit(self, segment: Segment, context: Context) -> None:
        """
        Queue a segment whose root has ended; never blocks on building or sending.

        Args:
            segment: The segment.
            context: The context variables at the end of the root, or of a span that was late for
                it: Sentry's scopes are among them.
        """
        size = len(segment.finished)
        with self._lock:
            if segment.queued:
                return
            closed = self._closed
            if not closed and self._queued_spans + size <= self._max_queued_spans:
                due = time.monotonic() + (self._grace if segment.open else 0.0)
                entry = (due, next(self._numbers), size, segment, context)
                heappush(self._queue, entry)
                segment.queued = True
                self._queued_spans += size
                if self._thread is None:
                    self._start()
                elif not self._busy and self._queue[0] is entry:
                    self._wake.notify_all()
                return
        # Not while the lock is held: a handler of the application's log takes its own lock, and who
        # has that may be about to end a span.
        self._drop(segment)
        if not closed:
            logger.warning(
                "Transactions are dropped: more than %d spans wait to be sent. They are counted"
                " in Sentry's client reports (queue_overflow).",
                self._max_queued_spans,
            )

    def _start(self) -> None:
        if self._starting:
            return  # the garbage collector has ended a span meanwhile
        self._starting = True
        try:
            # Stays None while the interpreter shuts down; drain() builds in its caller then.
            self._thread = start_thread(self._run, "otel-sentry.assembler")
        finally:
            self._starting = False

    def _drop(self, segment: Segment) -> None:
        ids = [span.context.span_id for span in take_all(segment.finished)]
        spans = len(ids) + sum(take_all(segment.dropped))
        self._send.lost("queue_overflow", transactions=ids.count(segment.root_id), spans=spans)

    def _run(self) -> None:
        generation = self.generation
        while generation == self.generation:
            taken = self._take()
            if taken is None:
                return
            self._build(*taken)
            del taken  # it holds the spans, and the scopes

    def _take(self) -> tuple[Segment, Context] | None:
        """Wait for the next segment that is due; ``None`` once closed and empty."""
        with self._lock:
            self._busy = False
            self._wake.notify_all()
            while True:
                if self._queue:
                    wait = self._queue[0][0] - time.monotonic()
                    if wait <= 0 or self._flushing or self._closed:
                        self._busy = True
                        return self._pop()
                    self._wake.wait(wait)
                elif self._closed:
                    self._thread = None
                    return None
                else:
                    self._wake.wait(_IDLE_SECONDS)

    def _pop(self) -> tuple[Segment, Context]:
        _, _, size, segment, context = heappop(self._queue)
        # Nothing where nothing waits: what a signal's handler raises may keep submit() from adding.
        self._queued_spans = self._queued_spans - size if self._queue else 0
        return segment, context

    def count_lost(self) -> None:
        """Count the spans that were collected as garbage, or were over the limit of a segment."""
        for numbers, reason in (
            (self.abandoned, "insufficient_data"),
            (self.dropped, "buffer_overflow"),
        ):
            lost = sum(take_all(numbers))
            if lost:
                self._send.lost(reason, transactions=0, spans=lost)

    def _build(self, segment: Segment, context: Context) -> None:
        # First the flag, then the spans: one that ends now is either taken here or queued.
        segment.queued = False
        self.dropped.extend(take_all(segment.dropped))
        self.count_lost()
        spans = list(take_all(segment.finished))
        try:
            trees, waiting = grow(
                spans,
                segment.root_id,
                segment.open,
                absent=segment.absent.copy(),
                is_cut=segment.room == 0,
            )
            segment.finished.extendleft(reversed(waiting))
            for tree in trees:
                self._send.transaction(tree, context)
        except Exception as error:  # noqa: BLE001 - the thread must live
            report("building a transaction", error)
            self._send.lost("internal_sdk_error", transactions=1, spans=len(spans))

    def drain(self, timeout: float) -> bool:
        """Build what is queued before it is due; whether all was in ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._lock:
            self._flushing += 1
            self._wake.notify_all()
        try:
            with self._lock:
                while self._thread is not None and (self._queue or self._busy):
                    wait = deadline - time.monotonic()
                    if wait <= 0:
                        return False
                    self._wake.wait(min(wait, 0.05))
            self.count_lost()
            return self._build_here(deadline)
        finally:
            with self._lock:
                self._flushing -= 1

    def _build_here(self, deadline: float) -> bool:
        """Build in this thread where no other can be started: the interpreter is shutting down."""
        while True:
            with self._lock:
                if self._thread is not None or not self._queue:
                    return True
                if time.monotonic() >= deadline:
                    return False
                taken = self._pop()
            self._build(*taken)

    def close(self) -> None:
        """Stop the thread once the queue is empty."""
        with self._lock:
            self._closed = True
            self._wake.notify_all()
