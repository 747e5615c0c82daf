"""Say what is wrong: once, on the ``otel_sentry`` logger, without a traceback."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("otel_sentry")

_REPEAT_AFTER_SECONDS = 60.0

# By name: billiard is Celery's.
_RAISED_BY_SIGNALS = frozenset({"SoftTimeLimitExceeded"})


class _OncePerMinute(logging.Filter):
    """Let one sentence (the unformatted message with its arguments) through a minute."""

    _MAX_SENTENCES = 200  # bound: the oldest is forgotten and may be said again

    def __init__(self) -> None:
        super().__init__()
        self._last_said: dict[tuple[str, str], float] = {}
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Have a lock that nobody holds."""
        # Re-entrant: the garbage collector may end a span, and that fail, in the middle of it.
        self._lock = threading.RLock()

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.msg, repr(record.args))
        now = time.monotonic()
        with self._lock:
            last = self._last_said.get(key)
            if last is not None and now - last < _REPEAT_AFTER_SECONDS:
                return False
            if len(self._last_said) >= self._MAX_SENTENCES:
                del self._last_said[next(iter(self._last_said))]
            self._last_said[key] = now
        return True


_once_per_minute = _OncePerMinute()
logger.addFilter(_once_per_minute)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_once_per_minute.after_fork_in_child)


@contextmanager
def never_raise(doing: str) -> Iterator[None]:
    """
    Swallow and log what goes wrong inside us; re-raise under pytest, where we want to see it.

    Args:
        doing: What failed, as the rest of the sentence "otel_sentry failed while ...".
    """
    try:
        yield
    except Exception as error:
        if "PYTEST_CURRENT_TEST" in os.environ:
            raise
        report(doing, error)


def report(doing: str, error: BaseException) -> None:
    """
    Log a failure of ours: its type and place, never its text, which may hold a secret.

    Raises:
        Exception: The same, where a signal's handler raised it: it interrupts what we were doing,
            but is meant for the application, as Celery's soft time limit is.
    """
    if type(error).__name__ in _RAISED_BY_SIGNALS:
        raise error
    place: Any = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "unknown place"
    logger.warning(
        "otel_sentry failed while %s (%s at %s). The application is not affected; some telemetry"
        " is missing.",
        doing,
        type(error).__name__,
        where,
    )
