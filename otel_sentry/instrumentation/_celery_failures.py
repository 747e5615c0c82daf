"""
Describe the task that an event comes from, and send the failures that sentry-sdk does not see.

sentry-sdk captures what a task's function raises. It misses what fails around it (``before_start``,
a result that cannot be stored), and what the worker's main process says of a child that is gone:
there it takes a log line, without the task and without its trace.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import never_raise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SENTRYS_WRAPPER = "sentry_sdk.integrations.celery"
_MAX_FRAMES = 1000  # bound: Python's own limit of recursion


def connect() -> None:
    """Follow Celery's signals; again does nothing."""
    from celery.signals import task_failure, task_prerun, task_retry

    uid = "otel_sentry.failures"
    task_prerun.connect(_on_start, weak=False, dispatch_uid=uid)
    task_retry.connect(_on_retry, weak=False, dispatch_uid=uid)
    task_failure.connect(_on_failure, weak=False, dispatch_uid=uid)


def describe_job(
    task: Any, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """
    Return what ``extra.celery-job`` says: sentry-sdk's keys, and ours.

    Args:
        task: The task.
        request: Its request (``task.request``).
        args: Its positional arguments; they are named, so that the scrubber knows them.
        kwargs: Its other arguments.
    """
    delivery = request.delivery_info or {}
    exchange, routing_key = delivery.get("exchange"), delivery.get("routing_key")
    return {
        "task_name": task.name,
        "task_id": request.id,
        "args": _named(task.run, args),
        "kwargs": dict(kwargs),
        # With the default exchange the routing key is the queue's name.
        "queue": None if exchange else routing_key,
        "exchange": exchange,
        "routing_key": routing_key,
        "retries": request.retries,
        "max_retries": task.max_retries,
        "is_eager": bool(request.is_eager),
    }  # ten: sentry-sdk cuts what is longer


def _on_start(task: Any = None, args: Any = (), kwargs: Any = None, **_: Any) -> None:
    import sentry_sdk

    from otel_sentry._sentry_sdk import forget_last_exception

    with never_raise("describing a task"):
        request = task.request
        if not request.id:
            return
        # One task after the other may raise one and the same object; what is one event, we know.
        forget_last_exception()
        # In the scope that sentry-sdk made for this run; it ends with it.
        _describe(sentry_sdk.get_isolation_scope(), task, request, args, kwargs or {})
        if request.retries:
            sentry_sdk.add_breadcrumb(
                category="celery",
                level="warning",
                message=f"retry {request.retries} of {task.max_retries}",
            )


def _on_retry(reason: Any = None, **_: Any) -> None:
    import sentry_sdk

    with never_raise("noting a retry"):
        sentry_sdk.add_breadcrumb(category="celery", level="warning", message=str(reason))


def _on_failure(sender: Any = None, task_id: Any = None, exception: Any = None, **_: Any) -> None:
    from celery.exceptions import Ignore, Reject, Retry, TimeLimitExceeded, WorkerLostError

    with never_raise("capturing a task's failure"):
        if isinstance(exception, (Ignore, Reject, Retry, *sender.throws)):
            return
        if not isinstance(exception, (TimeLimitExceeded, WorkerLostError)):
            if not _seen_by_sentry(exception):
                _capture(exception)
        elif sender.request.id == task_id:
            # A second signal of the same failure comes without the request.
            _capture_in_main_process(sender, exception)


def _capture_in_main_process(task: Any, error: BaseException) -> None:
    import sentry_sdk
    from opentelemetry.context import attach, detach
    from opentelemetry.instrumentation.celery import celery_getter
    from opentelemetry.propagate import extract

    request = task.request
    # The message still knows its trace.
    token = attach(extract(request, getter=celery_getter))
    try:
        with sentry_sdk.isolation_scope() as scope:
            scope.clear_breadcrumbs()  # they are about every other task
            _describe(scope, task, request, request.args or (), request.kwargs or {})
            _capture(
                error,
                transaction=task.name,
                transaction_info={"source": "task"},
                tags={"celery_task_id": request.id},
                # As sentry-sdk groups SoftTimeLimitExceeded.
                fingerprint=["celery", type(error).__name__, task.name],
            )
    finally:
        detach(token)


def _capture(error: BaseException, **more: Any) -> None:
    import sentry_sdk

    from otel_sentry._sentry_sdk import event_from_exception

    if sentry_sdk.get_client().get_integration("celery") is None:
        return  # the application does not want it
    event, hint = event_from_exception(error, {"type": "celery", "handled": False})
    event.update(more)
    sentry_sdk.capture_event(event, hint=hint)


def _describe(
    scope: Any, task: Any, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    from otel_sentry._sentry_sdk import arguments_stay_here

    def process(event: Any, hint: Any) -> Any:  # noqa: ARG001 - sentry-sdk's signature
        if event.get("type") is not None:  # a transaction says it by its data
            # sentry-sdk 3 has the arguments there unless told otherwise, without their names.
            event.get("extra", {}).pop("celery-job", None)
            return event
        with never_raise("describing a task"):
            job = describe_job(task, request, args, kwargs)
            if arguments_stay_here():
                del job["args"], job["kwargs"]
            extra = event.setdefault("extra", {})
            extra["celery-job"] = {**extra.get("celery-job", {}), **job}
        return event

    scope.add_event_processor(process)


def _named(function: Any, args: Sequence[Any]) -> dict[str, Any]:
    try:
        return dict(inspect.signature(function).bind_partial(*args).arguments)
    except (TypeError, ValueError):  # it takes other arguments, and failed for that
        return {str(number): value for number, value in enumerate(args)}


def _seen_by_sentry(error: BaseException) -> bool:
    place = error.__traceback__
    for _ in range(_MAX_FRAMES):
        if place is None:
            break
        if place.tb_frame.f_globals.get("__name__") == _SENTRYS_WRAPPER:
            return True
        place = place.tb_next
    return False
