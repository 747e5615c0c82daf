"""
Generative AI: models, agents and their tools.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ and
https://develop.sentry.dev/sdk/telemetry/traces/modules/ai-agents/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.semantics._meaning import Meaning, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import SpanKind

# What an operation is about; of all others it is the model. Sentry's pages want descriptions like
# "chat gpt-4o", "invoke_agent Weather Agent" and "execute_tool query_database".
_SUBJECTS = {
    "create_agent": "gen_ai.agent.name",
    "execute_tool": "gen_ai.tool.name",
    "handoff": "gen_ai.agent.name",
    "invoke_agent": "gen_ai.agent.name",
}

_MAX_OPERATION = 50


def _is_gen_ai(attributes: Mapping[str, Any]) -> bool:
    return (
        "gen_ai.operation.name" in attributes
        or "gen_ai.provider.name" in attributes
        or "gen_ai.system" in attributes
    )


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:  # noqa: ARG001
    """Return what Sentry calls a span of generative AI; ``None`` where it is none."""
    if not _is_gen_ai(attributes):
        return None
    operation = text(attributes, "gen_ai.operation.name")
    if not operation:
        return Meaning("gen_ai", name, name, "custom")
    # An op is a word and there are few of them; the list of operations is open.
    is_word = len(operation) <= _MAX_OPERATION and operation.isidentifier()
    op = f"gen_ai.{operation.lower()}" if is_word else "gen_ai"
    subject = text(attributes, _SUBJECTS.get(operation, "gen_ai.request.model"))
    return Meaning(op, f"{operation} {subject}" if subject else name, name, "custom")


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return who answered, and the tokens that it took."""
    if not _is_gen_ai(attributes):
        return {}
    data: dict[str, Any] = {}
    provider = text(attributes, "gen_ai.provider.name", "gen_ai.system")
    if provider:
        data["gen_ai.provider.name"] = provider
    tokens_in = whole(attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
    tokens_out = whole(attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
    if tokens_in is not None:
        data["gen_ai.usage.input_tokens"] = tokens_in
    if tokens_out is not None:
        data["gen_ai.usage.output_tokens"] = tokens_out
    if tokens_in is not None and tokens_out is not None:
        data["gen_ai.usage.total_tokens"] = tokens_in + tokens_out
    return data
