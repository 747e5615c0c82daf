"""
Producers and consumers of messages, Celery first.

Source: https://develop.sentry.dev/sdk/telemetry/traces/modules/queues/ and
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otel_sentry.semantics._meaning import Meaning, first

if TYPE_CHECKING:
    from collections.abc import Mapping

_CELERY_NAMES = {SpanKind.CONSUMER: "run/", SpanKind.PRODUCER: "apply_async/"}

_OPS = {
    "publish": "queue.publish",
    "send": "queue.publish",
    "create": "queue.create",
    "receive": "queue.receive",
    "process": "queue.process",
    "deliver": "queue.process",
    "settle": "queue.settle",
}

_OPS_BY_KIND = {SpanKind.PRODUCER: "queue.publish", SpanKind.CONSUMER: "queue.process"}


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:
    """Return what Sentry calls a messaging span; ``None`` where it is none."""
    task = _celery_task(name, kind, attributes)
    if task is not None:
        return Meaning(_OPS_BY_KIND[kind], task, task, "task", (f"celery {task}",))
    operation = first(attributes, "messaging.operation.type", "messaging.operation")
    if operation is None and "messaging.system" not in attributes and kind not in _OPS_BY_KIND:
        return None
    op = _OPS.get(str(operation)) or _OPS_BY_KIND.get(kind, "queue")
    return Meaning(op, name, name, "custom")


def _celery_task(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> str | None:
    """Return the task's name; the instrumentation sets its attributes after the span's start."""
    prefix = _CELERY_NAMES.get(kind)
    if prefix is None:
        return None
    if name.startswith(prefix) and "messaging.system" not in attributes:
        return name[len(prefix) :]
    task = first(attributes, "celery.task_name")
    return None if task is None else str(task)


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Sentry's Queues page reads, from the names that the instrumentation uses."""
    if kind not in _OPS_BY_KIND:
        return {}
    system = first(attributes, "messaging.system")
    if system is None and "celery.action" in attributes:
        system = "celery"
    found = {
        "messaging.system": system,
        "messaging.destination.name": first(
            attributes, "messaging.destination.name", "messaging.destination"
        ),
        "messaging.message.id": first(
            attributes, "messaging.message.id", "messaging.message_id"
        ),
        "messaging.message.retry.count": first(
            attributes, "messaging.message.retry.count", "celery.retries"
        ),
    }
    return {key: value for key, value in found.items() if value is not None}
