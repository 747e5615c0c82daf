"""FastAPI: no span for each ASGI message; the request's root is remembered for error linking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span


def options() -> dict[str, Any]:
    """Return the keyword arguments of ``FastAPIInstrumentor.instrument()``."""
    return {"exclude_spans": ["receive", "send"], "server_request_hook": _remember}


def _remember(span: Span, scope: dict[str, Any]) -> None:  # noqa: ARG001 - the hook's signature
    from otel_sentry.errors.linking import remember_root

    # The span processor never sees a sampled-out root, but errors in it are linked all the same.
    if not span.is_recording():
        remember_root(span)
