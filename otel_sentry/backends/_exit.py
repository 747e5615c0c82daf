"""End all backends, metrics and logs within one bounded time, and flush where children end."""

from __future__ import annotations

import atexit
import time
from functools import partial
from multiprocessing import util
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import get_meter_provider

from otel_sentry._background import begin
from otel_sentry._logging import never_raise
from otel_sentry.backends._queue import live_queues

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_SECONDS = 2.0
"""How long the end of the process may take for OTLP: spans, logs and metrics together."""


def end_together() -> None:
    """
    Let everything that is queued for OTLP go at once, and wait for all of it together.

    OpenTelemetry's providers end one after the other, 30 seconds each where a far end hangs.
    """
    with never_raise("ending the backends"):
        deadline = time.monotonic() + EXIT_SECONDS
        finishes: list[Callable[[float], Any]]
        finishes = [queue.begin_shutdown() for queue in live_queues()]
        shutdown = _metrics_shutdown()
        if shutdown is not None:
            end_metrics = partial(shutdown, timeout_millis=EXIT_SECONDS * 1000)
            finishes.append(begin("ending the metrics", end_metrics))
        for finish in finishes:
            with never_raise("ending a backend"):
                finish(max(0.0, deadline - time.monotonic()))


def register() -> None:
    """Do so at the interpreter's end; children of ``multiprocessing`` run no ``atexit``."""
    with never_raise("registering for the end"):
        _metrics_shutdown()  # now, too: from Python 3.14 on it is too late at the end
    atexit.register(end_together)
    util.register_after_fork(_Owner, lambda _: util.Finalize(None, _flush, exitpriority=1))


def _metrics_shutdown() -> Callable[..., Any] | None:
    """Return what ends the metrics, if there are any; it is no longer called by ``atexit``."""
    shutdown = getattr(get_meter_provider(), "shutdown", None)
    if shutdown is not None:
        atexit.unregister(shutdown)
    return shutdown


class _Owner:
    """``multiprocessing`` keeps what registers for forks by weak reference: a class lives on."""


def _flush(*_: Any) -> None:
    from otel_sentry.processes import flush

    flush()
