"""
Producers and consumers of messages, Celery first.

Source: https://develop.sentry.dev/sdk/telemetry/traces/modules/queues/ and
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otel_sentry.semantics._meaning import Meaning, measured, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPS = {
    # The convention's types of operations, in the words of all its versions.
    "create": "queue.create",
    "publish": "queue.publish",
    "send": "queue.publish",
    "receive": "queue.receive",
    "process": "queue.process",
    "deliver": "queue.process",
    "settle": "queue.settle",
    # Names of operations, where the type is missing.
    "poll": "queue.receive",
    "ack": "queue.settle",
    "nack": "queue.settle",
    "reject": "queue.settle",
    "commit": "queue.settle",
    # Of AWS' client, which says rpc.method and no operation.
    "SendMessage": "queue.publish",
    "SendMessageBatch": "queue.publish",
    "Publish": "queue.publish",
    "PublishBatch": "queue.publish",
    "ReceiveMessage": "queue.receive",
    "DeleteMessage": "queue.settle",
    "DeleteMessageBatch": "queue.settle",
}

_RUN = "run/"
_APPLY_ASYNC = "apply_async/"

_DESTINATION = ("messaging.destination.name", "messaging.destination")


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:
    """Return what Sentry calls a messaging span; ``None`` where it is none."""
    if kind is SpanKind.CONSUMER:
        celery = _celery("queue.process", _RUN, name, attributes)
    elif kind is SpanKind.PRODUCER:
        celery = _celery("queue.publish", _APPLY_ASYNC, name, attributes)
    else:
        celery = None
    if celery is not None:
        return celery
    system = text(attributes, "messaging.system")
    operation = text(
        attributes, "messaging.operation.type", "messaging.operation", "messaging.operation.name"
    )
    if not system and not operation and not text(attributes, *_DESTINATION):
        return None
    # A unit of work of its own, named by its queue.
    source = "task" if kind is SpanKind.CONSUMER else "custom"
    return Meaning(_op(kind, system, operation, attributes), name, name, source)


def _op(kind: SpanKind, system: str, operation: str, attributes: Mapping[str, Any]) -> str:
    if kind is SpanKind.CONSUMER and operation == "receive" and system == "rabbitmq":
        # Contrib's pika and aio-pika call the callback's run so; RabbitMQ pushes, none asks for it.
        return "queue.process"
    op = _OPS.get(operation) or _OPS.get(text(attributes, "rpc.method"))
    if op is not None:
        return op
    if kind is SpanKind.CONSUMER:
        return "queue.process"
    return "queue.publish" if kind is SpanKind.PRODUCER else "queue"


def _celery(op: str, prefix: str, name: str, attributes: Mapping[str, Any]) -> Meaning | None:
    """Return a task; the instrumentation sets its attributes after the span's start."""
    task = text(attributes, "celery.task_name")
    if not task:
        # Another system's span may have such a name.
        if not name.startswith(prefix) or "messaging.system" in attributes:
            return None
        task = name[len(prefix) :]
    elif name and name not in (task, f"{prefix}{task}"):
        return Meaning(op, name, name, "custom", (task, f"celery {task}"))
    return Meaning(op, task, task, "task", (f"celery {task}",))


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Sentry's Queues page reads, from the names that the instrumentation uses."""
    system = text(attributes, "messaging.system")
    is_celery = "celery.action" in attributes
    if not is_celery and not system and not text(attributes, *_DESTINATION):
        return {}
    retries = whole(attributes, "messaging.message.retry.count", "celery.retries")
    if retries is None and is_celery and kind is SpanKind.CONSUMER:
        retries = 0  # the instrumentation leaves the number out of a first run
    found = {
        # sentry-sdk says the broker's transport (redis, amqp), which only our hook could know.
        "messaging.system": system or ("celery" if is_celery else None),
        # Of Celery it is the routing key, which with the default exchange is the queue's name.
        "messaging.destination.name": text(attributes, *_DESTINATION) or None,
        "messaging.message.id": text(attributes, "messaging.message.id", "messaging.message_id")
        or None,
        "messaging.message.retry.count": retries,
        "messaging.message.receive.latency": measured(
            attributes, "messaging.message.receive.latency"
        ),
        "messaging.message.body.size": whole(
            attributes,
            "messaging.message.body.size",
            "messaging.message.payload_size_bytes",
            "messaging.message_payload_size_bytes",
        ),
    }
    return {key: value for key, value in found.items() if value is not None}
