"""Flush where a process ends without running ``atexit``."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

from otel_sentry._background import begin, start_thread
from otel_sentry._logging import never_raise

EXIT_SECONDS = 2.0
"""How long the end of a process may take for telemetry."""

_AGAIN_SECONDS = 0.3  # how long, where the same end has run out of that time already
_SAME_END_SECONDS = 10.0

_ran_out: list[float] = []  # at most one: when a flush last ran out of time


def flush() -> None:
    """
    Send what is queued, within :data:`EXIT_SECONDS`.

    A service that ends flushes more than once: the application's shutdown, the signal's handler.
    """
    import sentry_sdk
    from opentelemetry._logs import get_logger_provider
    from opentelemetry.metrics import get_meter_provider
    from opentelemetry.trace import get_tracer_provider

    from otel_sentry.transport import SentryTransport

    started = time.monotonic()
    again = _ran_out and started - _ran_out[0] < _SAME_END_SECONDS
    seconds = _AGAIN_SECONDS if again else EXIT_SECONDS
    with never_raise("flushing"):
        providers = (get_logger_provider(), get_meter_provider(), get_tracer_provider())
        # All at once: one that hangs takes no time from the others.
        threads = [_flushing(provider) for provider in providers]
        client = sentry_sdk.get_client()
        # Not in this thread: a signal may have interrupted it while it holds one of sentry-sdk's
        # locks, those of its logs and metrics. Ours can be taken again, here and nowhere else.
        wait = begin("flushing sentry-sdk", lambda: client.flush(seconds))
        if isinstance(client.transport, SentryTransport):
            client.transport.flush(seconds)
        wait(started + seconds - time.monotonic())
        for thread in filter(None, threads):
            thread.join(max(0.0, started + seconds - time.monotonic()))
    if time.monotonic() - started >= seconds:
        _ran_out[:] = [time.monotonic()]


def _flushing(provider: Any) -> threading.Thread | None:
    """Let a provider flush in a thread: what it waits for may have no limit."""
    force_flush = getattr(provider, "force_flush", None)
    if force_flush is None:
        return None
    return start_thread(lambda: force_flush(int(EXIT_SECONDS * 1000)), "otel-sentry.flush")


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
