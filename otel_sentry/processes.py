"""Flush where a process ends without running ``atexit``."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import never_raise

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_SECONDS = 2.0
"""How long the end of a process may take for telemetry."""


def flush_on_sigterm(flush: Callable[[], None]) -> None:
    """
    Flush before SIGTERM ends the process, where the application has no handler of its own.

    uvicorn restores the handler it found and raises the signal again: ``atexit`` never runs.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def handle(number: int, _frame: Any) -> None:
        with never_raise("flushing at SIGTERM"):
            flush()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)
