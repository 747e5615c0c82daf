"""
Celery: let the span of a publish last as long as the publish does.

Contrib starts it in the signal before and ends it in the signal after, which does not come where
the broker fails: the span stays the current one, and the parent of whatever follows. Of a task that
this process has not registered contrib keeps nothing
(https://github.com/open-telemetry/opentelemetry-python-contrib/pull/1407), so that its span ends at
once. No signal is around both, so ``Celery.send_task``, through which each publish goes, and
contrib's ``attach_context``, which is told what was started, are wrapped, here and nowhere else.
"""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import never_raise

if TYPE_CHECKING:
    from collections.abc import Callable

# What ends with the publish that is under way here.
_publish: ContextVar[ExitStack | None] = ContextVar("otel_sentry_celery_publish", default=None)


def end_with_publish() -> None:
    """Let the span of a publish end with it, however that ends; again does nothing."""
    from celery import Celery
    from opentelemetry.instrumentation.celery import utils

    if not getattr(Celery.send_task, "_otel_sentry_ends", False):
        utils.attach_context = _keeping(utils.attach_context, utils.detach_context)
        Celery.send_task = _ending(Celery.send_task)


def _ending(send_task: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(send_task)
    def call(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as publish:
            publish.callback(_publish.reset, _publish.set(publish))
            return send_task(*args, **kwargs)

    call._otel_sentry_ends = True  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark
    return call


def _keeping(attach_context: Callable[..., Any], detach_context: Callable[..., Any]) -> Any:
    @wraps(attach_context)
    def call(*args: Any, **kwargs: Any) -> None:
        attach_context(*args, **kwargs)
        publish = _publish.get()
        if publish is None or not kwargs.get("is_publish"):
            return
        with never_raise("keeping the span of a publish"):
            task, task_id, _, activation = args[:4]

            def end(*error: Any) -> None:
                with never_raise("ending the span of a publish"):
                    detach_context(task, task_id, is_publish=True)
                    activation.__exit__(*error)  # does nothing where contrib did it

            publish.push(end)

    return call
