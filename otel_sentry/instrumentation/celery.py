"""Celery: as contrib gives it, and how long a message waited in its queue."""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span

from otel_sentry._logging import never_raise
from otel_sentry.propagation import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_sentry.settings import Settings

# sentry-sdk's own header: a Sentry-native worker at the other end understands it, and we understand
# a Sentry-native producer's.
_ENQUEUED = "sentry-task-enqueued-time"
_MILLISECONDS = 1000.0
_SYSTEMS = {"amqps": "amqp", "pyamqp": "amqp", "rediss": "redis"}


def options(settings: Settings | None = None) -> dict[str, Any]:  # noqa: ARG001 - as elsewhere
    """
    Return the keyword arguments of ``CeleryInstrumentor.instrument()``.

    Its handlers run after what is connected here: they end the task's span.
    """
    from celery.signals import task_postrun

    task_postrun.connect(_tell_abort, weak=False, dispatch_uid=_ENQUEUED)
    return {}


def instrumented(settings: Settings) -> None:
    """Follow the instrumentor's signal handlers: its span is the current one in ours."""
    from celery.backends.base import Backend
    from celery.signals import before_task_publish, task_prerun, worker_process_shutdown

    from otel_sentry.instrumentation import _celery_beat, _celery_failures, _celery_publish

    if not settings.infrastructure_spans and not hasattr(Backend.store_result, "__wrapped__"):
        # Celery has no signal around it; every back end stores through this method.
        Backend.store_result = _without_spans(Backend.store_result)
    with never_raise("following Celery's publishes"):
        _celery_publish.end_with_publish()
    before_task_publish.connect(_note_time, weak=False, dispatch_uid=_ENQUEUED)
    task_prerun.connect(_tell_latency, weak=False, dispatch_uid=_ENQUEUED)
    # A child of the pool ends without atexit; sentry-sdk's integration flushes its client alone.
    worker_process_shutdown.connect(_flush, weak=False, dispatch_uid=_ENQUEUED)
    _celery_failures.connect()
    _celery_beat.trace_monitored_entries()


def _tell_abort(state: str | None = None, **_: Any) -> None:
    """Let a run that Celery has no state for, since its process is told to end, not look well."""
    span = get_current_span()
    if state is None and span.is_recording():
        span.set_status(StatusCode.ERROR, "the process was told to end")


def _flush(**_: Any) -> None:
    from otel_sentry.processes import flush

    flush()


def _without_spans(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
        try:
            return method(*args, **kwargs)
        finally:
            detach(token)

    return call


def _note_time(headers: dict[str, Any] | None = None, **_: Any) -> None:
    from celery import current_app

    if headers is not None:
        headers.setdefault(_ENQUEUED, f"{time.time():.6f}")
        _nest(headers)
    span: Any = get_current_span()
    # Where it is not the publish's own, nothing says so of the request's.
    if span.is_recording() and getattr(span, "kind", None) is SpanKind.PRODUCER:
        _name_broker(span, current_app)


def _nest(headers: dict[str, Any]) -> None:
    """
    Repeat the trace where a Sentry-native worker looks for it, and nothing else stands there.

    sentry-sdk reads the headers in the headers (https://github.com/celery/celery/issues/4875). A
    retried message brings those of its first delivery.
    """
    nested = headers.get("headers")
    kept = dict(nested) if isinstance(nested, dict) else {}
    for field in FIELDS:
        kept.pop(field, None)
        if field in headers:
            kept[field] = headers[field]
    if kept:
        headers["headers"] = kept


def _name_broker(span: Span, app: Any) -> None:
    """Set ``redis``, ``amqp``, ``sqs``, ... as sentry-sdk does."""
    scheme = str(app.conf.broker_url or "amqp").partition(":")[0]
    span.set_attribute("messaging.system", _SYSTEMS.get(scheme, scheme))


def _tell_latency(task: Any = None, **_: Any) -> None:
    """Set the latency and the queue (https://develop.sentry.dev/sdk/.../modules/queues/)."""
    from otel_sentry.errors.linking import remember_root

    span = get_current_span()
    if not span.get_span_context().is_valid:
        return
    if not span.is_recording():
        # Errors of a sampled-out task are linked, and its scope is its own, all the same.
        remember_root(span)
        return
    _name_broker(span, task.app)
    # The instrumentation sets it at the end; an error in between bears the task's name, too.
    span.set_attribute("celery.task_name", task.name)
    enqueued = getattr(task.request, _ENQUEUED, None) or task.request.get(_ENQUEUED)
    try:
        waited = (time.time() - float(enqueued)) * _MILLISECONDS
    except (TypeError, ValueError):
        return
    span.set_attribute("messaging.message.receive.latency", max(0.0, waited))
