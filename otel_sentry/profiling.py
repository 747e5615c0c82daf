"""
Let sentry-sdk's continuous profiler run while a trace is open, and say so in the transaction.

With ``profile_session_sample_rate`` and ``profile_lifecycle="trace"`` among the options of the
client the profiler runs while at least one local root is open; with ``"manual"`` the application
starts and stops it. Either way the transaction names it, which is how Sentry finds the profile.

Source: https://develop.sentry.dev/sdk/telemetry/profiles/ and sentry-sdk's ``Transaction``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sentry_sdk.profiler.continuous_profiler import (
    get_profiler_id,
    try_profile_lifecycle_trace_start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import Span


def start_profile(root: Span) -> Callable[[], None] | None:
    """
    Start the profiler where it follows traces, and note it on ``root``.

    Returns:
        What ends it, to be called at the end of the root; ``None`` where there is nothing to end.
    """
    if not root.get_span_context().trace_flags.sampled:
        return None
    profile = try_profile_lifecycle_trace_start()
    profiler_id = get_profiler_id()
    if profiler_id is not None:
        root.set_attribute("profiler_id", profiler_id)
        root.set_attribute("thread.id", str(threading.get_ident()))
        root.set_attribute("thread.name", threading.current_thread().name)
    return profile.stop if profile is not None else None
