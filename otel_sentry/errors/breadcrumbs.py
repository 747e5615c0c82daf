"""
Leave the breadcrumbs of queries, from what OpenTelemetry instruments.

sentry-sdk's integrations of Redis and SQLAlchemy leave the same ones, but make their spans first,
although its tracing is off, which is a fifth of what a request costs that is not sampled. Where
OpenTelemetry has instrumented the library they have nothing else to do, and are taken out of each
client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sentry_sdk

from otel_sentry._sentry_sdk import tells_arguments, tells_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sentry_sdk.client import BaseClient

_FILTERED = "[Filtered]"
_SECRET_COMMANDS = frozenset({"AUTH"})
_MAX_ARGUMENTS = 11  # as sentry-sdk
_SINGLE_KEY_COMMANDS = frozenset(
    {"DECR", "DECRBY", "GET", "INCR", "INCRBY", "PTTL", "SET", "SETEX", "SETNX", "TTL"}
)
_MULTI_KEY_COMMANDS = frozenset({"DEL", "MGET", "TOUCH", "UNLINK"})

_replaced: set[str] = set()  # names of integrations, two at most

# Attribute of a client: the names of those that it had.
_TAKEN = "_otel_sentry_replaced"


def replace_integration(name: str) -> None:
    """Take sentry-sdk's integration out of the active client, and out of those to come."""
    _replaced.add(name)
    remove_replaced(sentry_sdk.get_client())


def remove_replaced(client: BaseClient) -> None:
    """Take the integrations out of the client whose breadcrumbs are left from here."""
    integrations: dict[str, Any] = getattr(client, "integrations", {})  # none, where none sends
    taken = {name for name in _replaced if integrations.pop(name, None) is not None}
    if taken:
        vars(client)[_TAKEN] = vars(client).get(_TAKEN, frozenset()) | taken


def leave_redis_command(args: Sequence[Any], *, is_cluster: bool) -> None:
    """
    Leave the breadcrumb of one Redis command.

    Args:
        args: The command's name and its arguments; without personal data only the first of them,
            which is a key, is told.
        is_cluster: Whether a cluster was asked.
    """
    client = _client("redis")
    if client is None:
        return
    name, arguments = str(args[0]), args[1:]
    data = {"redis.is_cluster": is_cluster, "redis.command": name, "db.operation": name}
    command = name.upper()
    if arguments and (
        command in _SINGLE_KEY_COMMANDS or (len(arguments) == 1 and command in _MULTI_KEY_COMMANDS)
    ):
        data["redis.key"] = arguments[0]
    message = _command(name, arguments[:_MAX_ARGUMENTS], client.options)
    _leave("redis", message, data, "redis")


def leave_redis_pipeline(*, is_cluster: bool, is_transaction: bool) -> None:
    """Leave the breadcrumb of several Redis commands that are sent at once."""
    if _client("redis") is None:
        return
    data = {"redis.is_cluster": is_cluster, "redis.transaction": is_transaction}
    _leave("redis", "redis.pipeline.execute", data, "redis")


def leave_query(statement: str, parameters: Any, paramstyle: str | None, *, many: bool) -> None:
    """
    Leave the breadcrumb of one SQL statement.

    Args:
        statement: Its text.
        parameters: Its values, told only where the client's options say so.
        paramstyle: How it marks them, as PEP 249 calls it.
        many: Whether it is executed once for each of the parameters.
    """
    client = _client("sqlalchemy")
    if client is None:
        return
    data: dict[str, Any] = {}
    if tells_parameters(client.options):
        if parameters and parameters != [None]:
            data["db.params"] = parameters
        if paramstyle:
            data["db.paramstyle"] = "format" if paramstyle == "pyformat" else paramstyle
    if many:
        data["db.executemany"] = True
    _leave("query", statement, data)


def _client(integration: str) -> BaseClient | None:
    """Return the active client; ``None``: it does not want these breadcrumbs."""
    client: BaseClient = sentry_sdk.get_client()
    return client if integration in getattr(client, _TAKEN, ()) else None


def _command(name: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> str:
    known = len(arguments)
    if name.upper() in _SECRET_COMMANDS:
        known = 0
    elif known > 1 and not tells_arguments(options):
        known = 1
    filtered = (_FILTERED,) * (len(arguments) - known)
    return " ".join((name, *map(repr, arguments[:known]), *filtered))


def _leave(category: str, message: str, data: dict[str, Any], kind: str = "default") -> None:
    sentry_sdk.add_breadcrumb(
        {"type": kind, "category": category, "message": message, "data": data}
    )
