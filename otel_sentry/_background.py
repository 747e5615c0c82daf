"""What our background threads have in common: how they start, and what a fork means to them."""

from __future__ import annotations

# Encodes the host of a connection. Python would import it in the thread that connects first; a
# process forked meanwhile would inherit the lock of that import, and wait for it for ever.
import encodings.idna  # noqa: F401
import os
import threading
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from otel_sentry._logging import report

if TYPE_CHECKING:
    from collections.abc import Callable


def start_thread(target: Callable[[], Any], name: str) -> threading.Thread | None:
    """
    Start a daemon thread in which nothing is traced; ``None`` while the interpreter shuts down.

    It starts in an empty context: the request that happens to be the first is none of its business.
    """

    def run() -> None:
        # Whatever the thread does (DNS, HTTP) is not the application's.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
        target()

    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        Context().run(thread.start)
    except RuntimeError:
        return None
    return thread


def begin(doing: str, work: Callable[[], Any]) -> Callable[[float], None]:
    """
    Start something of others that may raise or hang; where no thread starts, it is done now.

    Args:
        doing: What may fail, as the rest of the sentence "otel_sentry failed while ...".
        work: It.

    Returns:
        A function that waits for its end, for so many seconds at most.
    """

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is of others
            report(doing, error)

    thread = start_thread(run, "otel-sentry.end")
    if thread is None:
        run()
        return lambda _: None
    return lambda seconds: thread.join(max(0.0, seconds))


def after_fork_in_child(method: Callable[[], Any]) -> None:
    """Call a bound method in each child process, as long as its object lives."""
    if hasattr(os, "register_at_fork"):
        reference = weakref.WeakMethod(method)
        os.register_at_fork(after_in_child=lambda: (call := reference()) and call())
