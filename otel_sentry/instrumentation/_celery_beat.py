"""
Celery beat: let a check-in of Sentry Crons and the task that it is about be one trace.

sentry-sdk says ``in_progress`` before it publishes the task, where no span is open yet. There is no
hook around both, so ``Scheduler.apply_entry`` is wrapped, here and nowhere else.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind, get_tracer

if TYPE_CHECKING:
    from collections.abc import Callable


def trace_monitored_entries() -> None:
    """Open a span around what sentry-sdk's ``monitor_beat_tasks`` checks in; again does nothing."""
    from celery.beat import Scheduler

    if not getattr(Scheduler.apply_entry, "_otel_sentry_traces", False):
        Scheduler.apply_entry = _traced(Scheduler.apply_entry)


def _traced(apply_entry: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(apply_entry)
    def call(scheduler: Any, entry: Any, *args: Any, **kwargs: Any) -> Any:
        import sentry_sdk

        integration: Any = sentry_sdk.get_client().get_integration("celery")
        if not getattr(integration, "monitor_beat_tasks", False):
            return apply_entry(scheduler, entry, *args, **kwargs)
        with get_tracer(__name__).start_as_current_span(
            f"beat/{entry.name}",
            kind=SpanKind.PRODUCER,
            # The task's name: sampling rules about it decide about this root, too.
            attributes={"celery.task_name": entry.task, "sentry.op": "queue.submit.celery"},
        ):
            return apply_entry(scheduler, entry, *args, **kwargs)

    call._otel_sentry_traces = True  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark
    return call
