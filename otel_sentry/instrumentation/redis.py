"""Redis: as contrib gives it, and whether the cache had the value; Celery's own keys are marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.semantics.noise import MARK

if TYPE_CHECKING:
    from opentelemetry.trace import Span

# Keys of Celery's result back end and of kombu's Redis transport.
_PLUMBING = ("celery-task-meta-", "celery-taskset-meta-", "_kombu.", "unacked")
_PLUMBING_BYTES = tuple(prefix.encode() for prefix in _PLUMBING)

_READS = frozenset({"GET", "GETEX", "MGET"})


def options() -> dict[str, Any]:
    """Return the keyword arguments of ``RedisInstrumentor.instrument()``."""
    return {"request_hook": _on_request, "response_hook": _on_response}


def _on_request(span: Span, _instance: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """The instrumentation keeps arguments out of the span; only here the key is known."""
    if len(args) < 2 or not span.is_recording():  # noqa: PLR2004 - command and key
        return
    key = args[1]
    if (isinstance(key, str) and key.startswith(_PLUMBING)) or (
        isinstance(key, bytes) and key.startswith(_PLUMBING_BYTES)
    ):
        span.set_attribute(MARK, value=True)


def _on_response(span: Span, _instance: Any, response: Any) -> None:
    """Say whether the cache had it (https://develop.sentry.dev/sdk/.../modules/caches/)."""
    if not span.is_recording() or getattr(span, "name", "") not in _READS:
        return
    values = response if isinstance(response, list) else [response]
    span.set_attribute("cache.hit", any(value is not None for value in values))
    sizes = [len(value) for value in values if isinstance(value, (bytes, str))]
    if sizes:
        span.set_attribute("cache.item_size", sum(sizes))
