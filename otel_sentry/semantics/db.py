"""
Databases and caches (https://opentelemetry.io/docs/specs/semconv/database/).

Commands of a key-value store that read or write a value are cache operations, as Sentry's Caches
page wants them: https://develop.sentry.dev/sdk/telemetry/traces/modules/caches/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.semantics._meaning import Meaning, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import SpanKind

# The op of those commands that are no cache operation.
_KEY_VALUE_STORES = {"redis": "db.redis", "valkey": "db.redis", "memcached": "db"}

_CACHE_OPS = {
    "GET": "cache.get",
    "GETEX": "cache.get",
    "GETDEL": "cache.get",
    "MGET": "cache.get",
    "GETS": "cache.get",
    "GET_MANY": "cache.get",
    "GET_MULTI": "cache.get",
    "SET": "cache.put",
    "SETEX": "cache.put",
    "PSETEX": "cache.put",
    "SETNX": "cache.put",
    "GETSET": "cache.put",
    "MSET": "cache.put",
    "MSETNX": "cache.put",
    "ADD": "cache.put",
    "REPLACE": "cache.put",
    "SET_MANY": "cache.put",
    "SET_MULTI": "cache.put",
    "DEL": "cache.remove",
    "UNLINK": "cache.remove",
    "DELETE": "cache.remove",
    "DELETE_MANY": "cache.remove",
    "DELETE_MULTI": "cache.remove",
    "FLUSHDB": "cache.flush",
    "FLUSHALL": "cache.flush",
    "FLUSH_ALL": "cache.flush",
}


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:  # noqa: ARG001
    """Return what Sentry calls a database span; ``None`` where it is none."""
    system = text(attributes, "db.system.name", "db.system")
    if not system:
        return None
    statement = text(attributes, "db.query.text", "db.statement")
    description = statement or text(attributes, "db.query.summary") or name
    op = _KEY_VALUE_STORES.get(system)
    if op is None:
        return Meaning("db", description, name, "custom")
    # A pipeline has a command a line: none of them is what the span is.
    if "\n" not in description:
        command = statement or text(attributes, "db.operation.name", "db.operation") or name
        cache_op = _CACHE_OPS.get(command.partition(" ")[0].upper())
        if cache_op is not None:
            return Meaning(cache_op, _keys(attributes) or description, name, "custom")
    return Meaning(op, description, name, "custom")


def _keys(attributes: Mapping[str, Any]) -> str:
    """Return the keys, which Sentry shows for a cache operation; contrib does not record them."""
    keys = attributes.get("cache.key")
    if isinstance(keys, str):
        return keys
    if isinstance(keys, (tuple, list)):
        return ", ".join(key for key in keys if isinstance(key, str))
    return ""


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return system and name of the database."""
    data: dict[str, Any] = {}
    system = text(attributes, "db.system.name", "db.system")
    if system:
        data["db.system.name"] = system
        namespace = text(attributes, "db.namespace", "db.name")
        if namespace:
            data["db.namespace"] = namespace
    return data
