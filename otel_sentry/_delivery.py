"""Run sends in a few threads, errors first, from bounded queues."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from sentry_sdk import Scope
from sentry_sdk.client import BaseClient
from sentry_sdk.utils import capture_internal_exceptions
from sentry_sdk.worker import Worker

from otel_sentry._background import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_QUEUED_TRANSACTIONS = 1000
"""Bound of the queue of transactions, in envelopes."""

MAX_QUEUED_ERRORS = 1000
"""Bound of the queue of everything else, in envelopes."""

MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""Bound of the queue of transactions, in bytes: a thousand large ones would be far more."""

_IDLE_SECONDS = 10.0

_PATIENCE_SECONDS = 0.1
"""How long a flush takes before it says that it takes long."""

_LAG_SECONDS = 0.1
"""How long the oldest transaction waits before one more connection is used."""


class _Deaf(BaseClient):
    """A client without integrations: what happens in a thread that has it is not recorded."""

    def is_active(self) -> bool:
        return True


class DeliveryWorker(Worker):
    """
    Run submitted sends in up to ``connections`` threads, opened as the queue asks for them.

    Urgent ones (errors) are taken first, and have one more thread than the others may occupy.
    While one thread keeps up the others sleep: threads that take turns run with cold caches and
    cost twice as much. One of them watches, so that a request that hangs holds up nothing else for
    long.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        # Re-entrant: a log call inside may be captured, and end up in submit() again.
        self._lock = threading.RLock()
        # One for each idle thread, who sent last is last: it is woken first, its caches are warm.
        # Who wakes it takes it out of here, or the next one to wake somebody would wake it again.
        self._waiting: list[threading.Condition] = []  # bound: connections + 1
        self._sent = threading.Condition(self._lock)
        self._urgent: deque[Callable[[], Any]] = deque()  # bound: MAX_QUEUED_ERRORS
        self._other: deque[tuple[float, int, Callable[[], Any]]] = deque()
        """With the time of submission and the size; bound: MAX_QUEUED_TRANSACTIONS."""

        self._other_bytes = 0  # bound: MAX_QUEUED_BYTES
        self._sending_others = 0  # bound: connections
        self._watching = 0  # of those waiting; bound: connections
        self._threads = 0  # bound: connections + 1
        self._idle = 0
        self._flushing = 0
        self._killed = False
        self._send_until: float | None = None  # of a send in the thread that flushes

    @property
    def is_alive(self) -> bool:
        """Whether a sender thread runs."""
        return self._threads > 0

    def full(self) -> bool:
        """Whether the next transaction would be dropped."""
        return len(self._other) >= MAX_QUEUED_TRANSACTIONS or self._other_bytes >= MAX_QUEUED_BYTES

    def submit(self, callback: Callable[[], Any], *, urgent: bool = True, size: int = 0) -> bool:
        """Queue a send; ``False`` where there is no room, and it must be counted."""
        with self._lock:
            if self._killed:
                return False
            if urgent:
                if len(self._urgent) >= MAX_QUEUED_ERRORS:
                    return False
                self._urgent.append(callback)
            else:
                if self.full() or self._other_bytes + size > MAX_QUEUED_BYTES:
                    return False
                self._other.append((time.monotonic(), size, callback))
                self._other_bytes += size
            if not self._idle:
                self._start_thread()
            elif urgent or not (self._awake() or (self._watching and self._idle < self._threads)):
                self._wake(1)
        return True

    def _awake(self) -> bool:
        """Whether an idle thread is about to look at the queues."""
        return self._idle > len(self._waiting)

    def _wake(self, threads: int) -> None:
        for condition in self._waiting[-threads:]:
            self._waiting.remove(condition)
            condition.notify()

    def _start_thread(self) -> None:
        if self._threads >= self._connections + bool(self._urgent):
            return
        # First the numbers: the garbage collector may submit something meanwhile.
        self._threads += 1
        self._idle += 1  # until it takes its first send
        thread = None
        try:
            thread = start_thread(self._run, "otel-sentry.sender")
        finally:
            if thread is None:
                self._threads -= 1
                self._idle -= 1

    def _run(self) -> None:
        # Requests to Sentry leave no breadcrumb and no event either.
        Scope.set_current_scope(Scope())
        Scope.get_current_scope().set_client(_Deaf())
        wake = threading.Condition(self._lock)
        while (taken := self._take(wake)) is not None:
            urgent, send = taken
            with capture_internal_exceptions():
                send()
            del taken, send  # it holds an envelope
            with self._lock:
                self._idle += 1
                self._sending_others -= not urgent
                self._sent.notify_all()

    def _take(self, wake: threading.Condition) -> tuple[bool, Callable[[], Any]] | None:
        """Wait for something to send; ``None`` after having had nothing to do for long."""
        is_warm = True
        with self._lock:
            while not self._killed:
                taken = self._next()
                if taken is not None:
                    self._idle -= 1
                    self._let_watch()
                    return taken
                watching = self._room_for_others()
                self._watching += watching
                self._waiting.insert(len(self._waiting) if is_warm else 0, wake)
                is_warm = False
                wake.wait(self._lag() if watching else _IDLE_SECONDS)
                self._watching -= watching
                # Not what wait() returns: its time may be over, and it be woken all the same.
                woken = wake not in self._waiting
                if not woken:
                    self._waiting.remove(wake)
                if not (woken or watching or self._urgent or self._other or self._is_last()):
                    break
            self._threads -= 1
            self._idle -= 1
            self._sent.notify_all()
            return None

    def _let_watch(self) -> None:
        """Have a thread that looks after what waits while the others send."""
        if not self._idle and (self._urgent or self._other):
            self._start_thread()
        elif self._room_for_others() and not (self._watching or self._awake()):
            self._wake(1)

    def _is_last(self) -> bool:
        """Whether there may be no other thread: some interpreters start none while they end."""
        return self._threads == 1 and not threading.main_thread().is_alive()

    def _next(self) -> tuple[bool, Callable[[], Any]] | None:
        """Take a send, and whether it is an urgent one."""
        if self._urgent:
            return True, self._urgent.popleft()
        alone = self._idle == self._threads
        if self._room_for_others() and (alone or self._flushing or self._lag() <= 0):
            self._sending_others += 1
            return False, self._take_other()
        return None

    def _take_other(self) -> Callable[[], Any]:
        _, size, send = self._other.popleft()
        self._other_bytes -= size
        return send

    def _room_for_others(self) -> bool:
        return bool(self._other) and self._sending_others < self._connections

    def _lag(self) -> float:
        """Return the seconds until the thread that sends is found to be too slow."""
        return self._other[0][0] + _LAG_SECONDS - time.monotonic()

    def flush(  # type: ignore[override] # sentry-sdk's returns nothing
        self, timeout: float, callback: Callable[[int, float], Any] | None = None
    ) -> bool:
        """Wait until everything submitted was sent; whether it was, within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        self._send_here(deadline)
        with self._lock:
            self._flushing += 1
            self._wake(len(self._waiting))
        try:
            if self._wait_until_sent(min(deadline, time.monotonic() + _PATIENCE_SECONDS)):
                return True
            if callback is not None:
                callback(self._pending(), timeout)
            return self._wait_until_sent(deadline)
        finally:
            with self._lock:
                self._flushing -= 1

    def _send_here(self, deadline: float) -> None:
        """Send in this thread where no other can be started: the interpreter is shutting down."""
        while time.monotonic() < deadline:
            with self._lock:
                if not self._pending():
                    return
                if not self._threads:
                    self._start_thread()
                if self._threads:
                    return
                send = self._urgent.popleft() if self._urgent else self._take_other()
                self._send_until = deadline
            try:
                with capture_internal_exceptions():
                    send()
            finally:
                self._send_until = None

    def seconds_left(self) -> float | None:
        """Return how long a request may take; ``None``: as long as they all may."""
        return None if self._send_until is None else max(0.1, self._send_until - time.monotonic())

    def _wait_until_sent(self, deadline: float) -> bool:
        with self._lock:
            while self._pending():
                wait = deadline - time.monotonic()
                if wait <= 0 or not self._threads:
                    return False
                self._sent.wait(wait)
        return True

    def _pending(self) -> int:
        return len(self._urgent) + len(self._other) + self._threads - self._idle

    def kill(self) -> list[Callable[[], Any]]:  # type: ignore[override] # as above
        """Let the threads end after what they are sending; return what they leave."""
        with self._lock:
            self._killed = True
            left = [*self._urgent, *(send for _, _, send in self._other)]
            self._urgent.clear()
            self._other.clear()
            self._other_bytes = 0
            self._wake(len(self._waiting))
            return left
