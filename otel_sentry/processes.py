"""Flush where a process ends without running ``atexit``."""

from __future__ import annotations

import signal
import threading
from typing import Any

from otel_sentry._logging import never_raise

EXIT_SECONDS = 2.0
"""How long the end of a process may take for telemetry."""


def flush() -> None:
    """Send what is queued, within :data:`EXIT_SECONDS`."""
    import sentry_sdk
    from opentelemetry.trace import get_tracer_provider

    with never_raise("flushing"):
        flush_traces = getattr(get_tracer_provider(), "force_flush", None)
        if flush_traces is not None:
            flush_traces(int(EXIT_SECONDS * 1000))
        sentry_sdk.flush(EXIT_SECONDS)


def flush_on_sigterm() -> None:
    """
    Flush before SIGTERM ends the process, where the application has no handler of its own.

    uvicorn restores the handler it found and raises the signal again: ``atexit`` never runs.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def handle(number: int, _frame: Any) -> None:
        flush()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)
