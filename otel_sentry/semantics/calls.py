"""Calls that are neither HTTP nor database nor message: RPC, GraphQL, FaaS, background tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otel_sentry.semantics._meaning import FUNCTION, Meaning, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_GRAPHQL_OPS = {
    "query": "graphql.query",
    "mutation": "graphql.mutation",
    "subscription": "graphql.subscription",
}

# The spans of Strawberry's OpenTelemetry extension, by what stands before the colon.
_GRAPHQL = "GraphQL "
_GRAPHQL_STEPS = {
    "GraphQL Query": "graphql.execute",
    "GraphQL Parsing": "graphql.parse",
    "GraphQL Validation": "graphql.validate",
    "GraphQL Resolving": "graphql.resolve",
}

_PROVIDERS = {
    "aws": "function.aws",
    "azure": "function.azure",
    "gcp": "function.gcp",
}

_AMAZON = "arn:aws"  # also of its partitions: arn:aws-cn

_BACKGROUND_TASK = "BackgroundTask "  # contrib's, with the name of the function
_FASTAPI_BACKGROUND_TASK = "fastapi.background_task"


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:
    """Return what Sentry calls the span; ``None`` where no convention here fits."""
    return (
        _rpc(name, kind, attributes)
        or _graphql(name, attributes)
        or _faas(name, attributes)
        or _background_task(name, kind, attributes)
    )


def _rpc(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:
    """An op says whether it is gRPC, which has a category of its own in Sentry."""
    if "rpc.system" not in attributes and "rpc.system.name" not in attributes:
        return None
    system = text(attributes, "rpc.system.name", "rpc.system")
    if not name:
        name = "/".join(
            filter(None, (text(attributes, "rpc.service"), text(attributes, "rpc.method")))
        )
    category = "grpc" if system == "grpc" else "rpc"
    if kind is SpanKind.SERVER:
        # The full name of a method: there are as many as the service declares.
        return Meaning(f"{category}.server", name, name, "route")
    op = f"{category}.client" if kind is SpanKind.CLIENT else category
    return Meaning(op, name, name, "custom")


def _graphql(name: str, attributes: Mapping[str, Any]) -> Meaning | None:
    if name.startswith(_GRAPHQL):
        op = _GRAPHQL_STEPS.get(name.partition(":")[0], "graphql")
    else:
        operation = text(
            attributes, "graphql.operation.type", "graphql.operation.name", "graphql.document"
        )
        if not operation:
            return None
        op = _GRAPHQL_OPS.get(operation, "graphql")
    return Meaning(op, name, name, "component")


def _faas(name: str, attributes: Mapping[str, Any]) -> Meaning | None:
    """The convention names the span by its function; contrib names it by the handler."""
    if not text(attributes, *FUNCTION):
        return None
    provider = text(attributes, "cloud.provider", "faas.invoked_provider")
    if not provider and text(attributes, "cloud.resource_id", "faas.id").startswith(_AMAZON):
        provider = "aws"  # contrib's Lambda says it in no other way
    op = _PROVIDERS.get(provider, "function")
    name = text(attributes, "faas.name") or name
    return Meaning(op, name, name, "component")


def _background_task(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:
    """Starlette's background tasks are functions that run after the response, in the process."""
    if kind is not SpanKind.INTERNAL:
        return None
    if name == _FASTAPI_BACKGROUND_TASK:
        task = text(attributes, "code.function.name").rpartition(".")[2] or name
    elif name.startswith(_BACKGROUND_TASK):
        task = name[len(_BACKGROUND_TASK) :]
    else:
        return None
    return Meaning("function.background_task", task, task, "task")


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return the system of a remote procedure call."""
    if "rpc.system" not in attributes and "rpc.system.name" not in attributes:
        return {}
    system = text(attributes, "rpc.system.name", "rpc.system")
    return {"rpc.system.name": system} if system else {}
