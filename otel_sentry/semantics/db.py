"""Databases and caches (https://opentelemetry.io/docs/specs/semconv/database/)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.semantics._meaning import Meaning, first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import SpanKind


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:  # noqa: ARG001
    """Return what Sentry calls a database span; ``None`` where it is none."""
    system = first(attributes, "db.system.name", "db.system")
    if system is None:
        return None
    statement = first(attributes, "db.query.text", "db.statement", "db.query.summary")
    op = "db.redis" if system == "redis" else "db"
    return Meaning(op, str(statement or name), name, "custom")
