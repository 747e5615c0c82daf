"""Calls that are neither HTTP nor database nor message: RPC, GraphQL, FaaS, generative AI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otel_sentry.semantics._meaning import Meaning

if TYPE_CHECKING:
    from collections.abc import Mapping

_RPC_OPS = {SpanKind.CLIENT: "rpc.client", SpanKind.SERVER: "rpc.server"}


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:
    """Return what Sentry calls the span; ``None`` where no convention here fits."""
    if "rpc.system" in attributes or "rpc.system.name" in attributes:
        source = "route" if kind is SpanKind.SERVER else "custom"
        return Meaning(_RPC_OPS.get(kind, "rpc"), name, name, source)
    if "graphql.operation.type" in attributes:
        op = f"graphql.{attributes['graphql.operation.type']}"
        return Meaning(op, name, name, "custom")
    if "faas.trigger" in attributes:
        return Meaning(f"function.{attributes['faas.trigger']}", name, name, "component")
    if "gen_ai.operation.name" in attributes:
        return Meaning(f"gen_ai.{attributes['gen_ai.operation.name']}", name, name, "custom")
    if kind is SpanKind.INTERNAL and name.startswith("BackgroundTask "):
        return Meaning("background.task", name.removeprefix("BackgroundTask "), name, "task")
    return None
