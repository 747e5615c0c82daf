"""
Link what sentry-sdk captures to the OpenTelemetry trace it happened in.

An unhandled FastAPI exception is captured outside OpenTelemetry's middleware, where no span is
current any more, but inside the same Sentry isolation scope as the request's root span.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, SpanContext, SpanKind, get_current_span
from sentry_sdk import Scope, get_isolation_scope
from sentry_sdk.scope import (
    has_external_propagation_context,
    register_external_propagation_context,
)

from otel_sentry.errors.origin import failed_span
from otel_sentry.semantics import infer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The scope is compared when read: a context may outlive the unit of work (Celery's main loop).
_local_root: ContextVar[tuple[Any, Span] | None] = ContextVar("otel_sentry.root", default=None)


# The scope that the process started with; at most one.
_base_scope: list[Scope] = []

_UNITS_OF_WORK = frozenset({SpanKind.SERVER, SpanKind.CONSUMER})


def start_linking() -> None:
    """Let sentry-sdk ask us for the current trace, and note the scope that requests start from."""
    note_base_scope()
    register_external_propagation_context(external_propagation_context)


def note_base_scope() -> None:
    """Note the scope that what is no request and no task runs in."""
    _base_scope[:] = [get_isolation_scope()]


def unit_of_work(event: Mapping[str, Any]) -> str:
    """
    Return the trace that an event belongs to; empty outside of requests and tasks.

    What a server logs about a request that failed comes from outside of it.
    """
    span_context = current_span_context()
    if span_context is not None:
        return f"{span_context.trace_id:032x}"
    if has_external_propagation_context() or get_isolation_scope() in _base_scope:
        return ""
    return str(event.get("contexts", {}).get("trace", {}).get("trace_id", ""))


def remember_root(span: Span) -> None:
    """
    Remember the local root of the current Sentry isolation scope.

    A request or task gets a scope of its own here where no integration of sentry-sdk gave it one:
    what one sets (user, tags) must not reach the next.
    """
    scope = get_isolation_scope()
    if _base_scope and getattr(span, "kind", SpanKind.SERVER) in _UNITS_OF_WORK:
        remembered = _local_root.get()
        used_before = (
            remembered is not None
            and remembered[0] is scope
            and remembered[1] is not span
            and not remembered[1].is_recording()
        )
        if scope is _base_scope[0] or used_before:
            scope = _base_scope[0].fork()
            Scope.set_isolation_scope(scope)
    _local_root.set((scope, span))


def local_root() -> Span | None:
    """Return the local root that was remembered in the current isolation scope."""
    remembered = _local_root.get()
    if remembered is None or remembered[0] is not get_isolation_scope():
        return None
    return remembered[1]


def current_span_context() -> SpanContext | None:
    """Return the span that an error captured now belongs to."""
    span_context = get_current_span().get_span_context()
    if span_context.is_valid:
        return span_context
    root = local_root()
    return root.get_span_context() if root is not None else None


def external_propagation_context() -> tuple[str, str] | None:
    """Return trace and span id for sentry-sdk (``register_external_propagation_context``)."""
    span_context = current_span_context()
    if span_context is None:
        return None
    return f"{span_context.trace_id:032x}", f"{span_context.span_id:016x}"


def link(
    event: dict[str, Any],
    dynamic_sampling_context: Callable[[SpanContext], Mapping[str, str]],
    error: BaseException | None = None,
) -> None:
    """
    Give an event its trace's sampling context and the name of its transaction.

    Args:
        event: Changed in place.
        dynamic_sampling_context: Returns that of the trace that a span context belongs to.
        error: The exception; the event is linked to the span of its trace that it failed.
    """
    span_context = current_span_context()
    if span_context is None:
        return
    trace = event.setdefault("contexts", {}).setdefault("trace", {})
    if trace.get("trace_id") == f"{span_context.trace_id:032x}":
        # sentry-sdk moves it into the envelope's header.
        trace["dynamic_sampling_context"] = dict(dynamic_sampling_context(span_context))
        failed = failed_span(error) if error is not None else None
        if failed is not None and failed.trace_id == span_context.trace_id:
            trace["span_id"] = f"{failed.span_id:016x}"
    if event.get("type") == "check_in":  # has no transaction
        return
    root = local_root()
    if root is not None and root.get_span_context().trace_id == span_context.trace_id:
        name = getattr(root, "name", None)
        if name:
            meaning = infer(name, root.kind, root.attributes or {})  # type: ignore[attr-defined]
            event["transaction"] = meaning.name
            event["transaction_info"] = {"source": meaning.source}
