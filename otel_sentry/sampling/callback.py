"""Ask the application's ``traces_sampler`` for a rate, in the words of sentry-sdk's own tracing."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otel_sentry._logging import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otel_sentry.semantics import Meaning

asgi_scope: ContextVar[dict[str, Any] | None] = ContextVar("otel_sentry.asgi_scope", default=None)
"""The ASGI scope of the current request; the instrumentation of FastAPI sets it."""


def sampling_context(
    meaning: Meaning,
    kind: SpanKind,
    attributes: Mapping[str, Any] | None,
    dynamic_sampling_context: Mapping[str, str] | None,
) -> dict[str, Any]:
    """
    Return what the callback is told about a trace that starts here.

    The keys are those of sentry-sdk (https://docs.sentry.io/platforms/python/configuration/
    sampling/#sampling-context-data); ``attributes`` and ``kind`` are ours. ``asgi_scope`` and
    ``celery_job`` are there where a request or a task starts the trace.

    Args:
        meaning: The first span in Sentry's words.
        kind: Its kind.
        attributes: What it knows at its start.
        dynamic_sampling_context: What came with the trace; ``None``: nothing.
    """
    # "parent_sampled" has no other value: a parent that decided is followed without a question.
    context: dict[str, Any] = {
        "transaction_context": {"name": meaning.name, "op": meaning.op, "source": meaning.source},
        "parent_sampled": None,
        "parent_sample_rate": _share((dynamic_sampling_context or {}).get("sample_rate")),
        "attributes": dict(attributes or {}),
        "kind": kind.name.lower(),
    }
    scope = asgi_scope.get()
    if scope is not None and kind is SpanKind.SERVER:
        context["asgi_scope"] = scope
    job = _celery_job() if kind is SpanKind.CONSUMER else None
    if job is not None:
        context["celery_job"] = job
    return context


def ask(
    callback: Callable[[dict[str, Any]], float | bool | None], context: dict[str, Any]
) -> float | None:
    """
    Return the rate that the callback gives; ``None``: it leaves it to the rules and the base rate.

    One that raises or returns something else warns once, and counts as ``None``.
    """
    try:
        answer = callback(context)
    except Exception as error:  # noqa: BLE001 - raised here, it would end the request
        _warn(f"raised {type(error).__name__}")
        return None
    if answer is None:
        return None
    rate = _share(answer) if isinstance(answer, (Real, Decimal)) else None
    if rate is None:
        _warn("returned something else than a rate")
    return rate


def _warn(what: str) -> None:
    logger.warning(
        "traces_sampler %s: OTEL_SENTRY_SAMPLING_RULES and SENTRY_TRACES_SAMPLE_RATE apply instead."
        " Let it return a number between 0 and 1, True, False or None.",
        what,
    )


def _share(value: Any) -> float | None:
    """Return a number between 0 and 1; ``None`` where it is none."""
    try:
        share = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return share if 0.0 <= share <= 1.0 else None


def _celery_job() -> dict[str, Any] | None:
    """Return the task that starts now, as sentry-sdk's Celery integration describes it."""
    celery = sys.modules.get("celery")
    task = getattr(celery, "current_task", None)
    if not task:
        return None
    request = task.request
    return {
        "task": task.name,
        "args": list(request.args or ()),
        "kwargs": dict(request.kwargs or {}),
    }
