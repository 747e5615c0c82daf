"""
Redis: as contrib gives it, and whether the cache had the value; Celery's own keys are marked.

Each command leaves a breadcrumb, and each pipeline, for which contrib has no hook.
"""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import never_raise
from otel_sentry.errors.breadcrumbs import (
    leave_redis_command,
    leave_redis_pipeline,
    replace_integration,
)
from otel_sentry.instrumentation._leaf import LeafTracerProvider
from otel_sentry.semantics.noise import MARK

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from otel_sentry.settings import Settings

_PIPELINES = (
    ("redis.client", "Pipeline"),
    ("redis.cluster", "ClusterPipeline"),
    ("redis.asyncio.client", "Pipeline"),
    ("redis.asyncio.cluster", "ClusterPipeline"),
)

# Keys of Celery's result back end and of kombu's Redis transport: their beginnings, or all of them.
_PREFIXES = ("celery-task-meta-", "celery-taskset-meta-", "_kombu.")
_PREFIXES_BYTES = tuple(map(str.encode, _PREFIXES))
_KEYS = frozenset({"unacked", "unacked_index", "unacked_mutex"})
_KEYS_BYTES = frozenset(map(str.encode, _KEYS))

# What a connection's attributes are made of.
_CONNECTION = ("db", "path", "host", "port")
_ABSENT = (object(),) * len(_CONNECTION)
_MAX_CONNECTIONS = 128  # remembered

_READS = frozenset({"GET", "GETDEL", "GETEX", "MGET"})


def options(settings: Settings | None = None) -> dict[str, Any]:  # noqa: ARG001 - as elsewhere
    """
    Return the keyword arguments of ``RedisInstrumentor.instrument()``.

    Pipelines are wrapped before it does so, or it could not take its own wrappers off again.
    """
    for module, name in _PIPELINES:
        _leave_breadcrumbs(getattr(import_module(module), name))
    _remember_connections()
    return {
        "request_hook": _on_request,
        "response_hook": _on_response,
        "tracer_provider": LeafTracerProvider(),
    }


def instrumented(settings: Settings) -> None:  # noqa: ARG001 - the same for every library
    """Leave the breadcrumbs of commands in place of sentry-sdk's integration."""
    replace_integration("redis")


def _remember_connections() -> None:
    """Let contrib find out what to say of a connection once, and not for each command."""
    from opentelemetry.instrumentation.redis import util

    extract = getattr(util, "_extract_conn_attributes", None)
    if extract is None or hasattr(extract, "__wrapped__"):
        return

    remembered: dict[tuple[Any, ...], Any] = {}

    @wraps(extract)
    def call(options: Any, *modes: Any) -> Any:
        try:
            # An enumeration's member has a hash in Python.
            key = (*map(options.get, _CONNECTION, _ABSENT), *map(id, modes))
            found = remembered.get(key)
        except Exception:  # noqa: BLE001 - what is not hashable, or no dictionary, is contrib's
            return extract(options, *modes)
        if found is None:
            found = extract(options, *modes)
            if len(remembered) < _MAX_CONNECTIONS:
                remembered[key] = found
        return found

    util._extract_conn_attributes = call  # noqa: SLF001 - there is no hook


def _leave_breadcrumbs(pipeline: Any) -> None:
    execute = pipeline.execute
    if hasattr(execute, "__wrapped__"):
        return
    is_cluster = pipeline.__name__.startswith("Cluster")

    @wraps(execute)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:  # a coroutine, where that is one
        with never_raise("leaving a breadcrumb of Redis"):
            _leave_pipeline(self, is_cluster=is_cluster)
        return execute(self, *args, **kwargs)

    pipeline.execute = call


def _leave_pipeline(pipeline: Any, *, is_cluster: bool) -> None:
    leave_redis_pipeline(
        is_cluster=is_cluster,
        is_transaction=not is_cluster and bool(pipeline.transaction),
    )


def _on_request(span: Span, instance: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """The instrumentation keeps arguments out of the span; only here the key is known."""
    if len(args) > 1 and _is_plumbing(args[1]):
        if span.is_recording():
            span.set_attribute(MARK, value=True)
        return
    leave_redis_command(args, is_cluster=type(instance).__name__.startswith("RedisCluster"))


def _is_plumbing(key: object) -> bool:
    if isinstance(key, str):
        return key in _KEYS or key.startswith(_PREFIXES)
    return isinstance(key, bytes) and (key in _KEYS_BYTES or key.startswith(_PREFIXES_BYTES))


def _on_response(span: Span, _instance: Any, response: Any) -> None:
    """Say whether the cache had it (https://develop.sentry.dev/sdk/.../modules/caches/)."""
    if not span.is_recording() or getattr(span, "name", "").upper() not in _READS:
        return
    values = response if isinstance(response, list) else [response]
    span.set_attribute("cache.hit", any(value is not None for value in values))
    sizes = [len(value) for value in values if isinstance(value, (bytes, str))]
    if sizes:
        span.set_attribute("cache.item_size", sum(sizes))
