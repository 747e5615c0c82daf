"""
Link what sentry-sdk captures to the OpenTelemetry trace it happened in.

An unhandled FastAPI exception is captured outside OpenTelemetry's middleware, where no span is
current any more, but inside the same Sentry isolation scope as the request's root span.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    get_current_span,
)
from sentry_sdk import Scope, get_isolation_scope
from sentry_sdk.scope import (
    has_external_propagation_context,
    register_external_propagation_context,
)

from otel_sentry._sentry_sdk import hand_on, handed_on
from otel_sentry.errors.origin import failed_span, passed_span
from otel_sentry.semantics import infer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import TraceState


class _Root(NamedTuple):
    """A local root, and the scopes of the unit of work that it is."""

    span: Span
    scope: Scope  # compared when read: a context may outlive the unit (Celery's main loop)
    before: Scope  # what was set before the first unit of work that began in this scope


# Outermost first: a task that runs eagerly is a unit of work within a request.
_local_roots: ContextVar[tuple[_Root, ...]] = ContextVar("otel_sentry.roots", default=())
_MAX_ROOTS = 10

# The scope that the process started with; at most one.
_base_scope: list[Scope] = []

_UNITS_OF_WORK = frozenset({SpanKind.SERVER, SpanKind.CONSUMER})
_LOW_64_BITS = (1 << 64) - 1


class LeftOut(NonRecordingSpan):
    """
    Stands for a local root that was not sampled, of which there is no span.

    Its span id is made up: nothing in Sentry bears that of a span that is not sent.
    """

    def __init__(
        self,
        trace_id: int,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any] | None,
        trace_state: TraceState,
    ) -> None:
        span_id = trace_id & _LOW_64_BITS or 1
        super().__init__(SpanContext(trace_id, span_id, is_remote=False, trace_state=trace_state))
        self.name = name
        self.kind = kind
        self.attributes = dict(attributes or {})

    def update_name(self, name: str) -> None:
        """Be called something else from now on."""
        self.name = name

    def set_attribute(self, key: str, value: Any) -> None:
        """Know what is learnt later: the whole route."""
        self.attributes[key] = value


def start_linking() -> None:
    """Let sentry-sdk ask us for the current trace, and note the scope that requests start from."""
    note_base_scope()
    register_external_propagation_context(external_propagation_context)


def note_base_scope() -> None:
    """Note the scope that what is no request and no task runs in."""
    _base_scope[:] = [get_isolation_scope()]


def unit_of_work(event: Mapping[str, Any], error: BaseException | None = None) -> str:
    """
    Return the trace that an event belongs to; empty outside of requests and tasks.

    What a server logs about a request that failed comes from outside of it.
    """
    span_context = span_context_of(error)
    if span_context is not None:
        return f"{span_context.trace_id:032x}"
    if has_external_propagation_context() or get_isolation_scope() in _base_scope:
        return ""
    return str(event.get("contexts", {}).get("trace", {}).get("trace_id", ""))


def remember_root(span: Span) -> Span:
    """
    Remember a local root of the current Sentry isolation scope.

    A request or task gets a scope of its own here where no integration of sentry-sdk gave it one:
    what one sets (user, tags) must not reach the next.

    Returns:
        The root; where it is remembered already, what it is remembered as.
    """
    scope = get_isolation_scope()
    here = _roots_in(scope)
    if here and _is_known(span, here[-1].span):
        return here[-1].span
    before = here[0].before if here else scope
    if _base_scope and _kind(span) in _UNITS_OF_WORK:
        is_used = bool(here) and all(_is_over(root.span) for root in here)
        if is_used or scope in _base_scope:
            scope = before.fork()
            Scope.set_isolation_scope(scope)
        elif not here:  # an integration's, which ends with the unit
            before = scope.fork()
            hand_on(scope, span)
    still_open = [root for root in _local_roots.get() if not _is_over(root.span)][1 - _MAX_ROOTS :]
    _local_roots.set((*still_open, _Root(span, scope, before)))
    return span


def _roots_in(scope: Scope) -> list[_Root]:
    return [root for root in _local_roots.get() if root.scope is scope]


def remember_left_out(*root: Any) -> None:
    """Remember a local root that is not recorded, as :class:`LeftOut` is given it."""
    remember_root(LeftOut(*root))


def _is_known(span: Span, remembered: Span) -> bool:
    """Return whether the root is remembered: by another backend, or in an outer application."""
    return span is remembered or (
        not span.is_recording()
        and not remembered.is_recording()
        and span.get_span_context().trace_id == remembered.get_span_context().trace_id
    )


def _kind(span: Span) -> SpanKind:
    return getattr(span, "kind", SpanKind.SERVER)


def _is_over(span: Span) -> bool:
    if isinstance(span, ReadableSpan):
        return span.end_time is not None
    # Nobody tells the end of one that is not recorded: while it is open a span of it is current.
    return get_current_span().get_span_context().trace_id != span.get_span_context().trace_id


def local_root() -> Span | None:
    """
    Return the innermost local root of the current isolation scope that is open.

    After a request's end, its own; in a thread that a unit of work has started, the unit's.
    """
    here = _roots_in(get_isolation_scope())
    for root in reversed(here):
        if not _is_over(root.span):
            return root.span
    if not here:
        of_fork: Span | None = handed_on(get_isolation_scope())
        return of_fork
    # A request's context ends with it. A script, or a loop over messages, goes on in the same one.
    return here[0].span if _kind(here[0].span) is SpanKind.SERVER else None


def current_span_context() -> SpanContext | None:
    """Return the span that an error captured now belongs to."""
    span_context = get_current_span().get_span_context()
    if span_context.is_valid:
        return span_context
    root = local_root()
    return root.get_span_context() if root is not None else None


def span_context_of(error: BaseException | None) -> SpanContext | None:
    """Return the span that is current, else the one that the exception has left."""
    found = current_span_context()
    if found is not None or error is None:
        return found
    return passed_span(error) or _failed_root()


def _failed_root() -> SpanContext | None:
    """Return the last root of this scope, unless it is known to have ended well."""
    here = _roots_in(get_isolation_scope())
    status = getattr(here[-1].span, "status", None) if here else None
    if not here or (status is not None and status.status_code is not StatusCode.ERROR):
        return None
    return here[-1].span.get_span_context()


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
    span_context = span_context_of(error)
    if span_context is None:
        return
    trace = event.setdefault("contexts", {}).setdefault("trace", {})
    if current_span_context() is None:  # sentry-sdk knew of no trace, and made one up
        trace["trace_id"] = f"{span_context.trace_id:032x}"
        trace["span_id"] = f"{span_context.span_id:016x}"
        trace["parent_span_id"] = None
    if trace.get("trace_id") != f"{span_context.trace_id:032x}":
        return
    # sentry-sdk moves it into the envelope's header.
    trace["dynamic_sampling_context"] = dict(dynamic_sampling_context(span_context))
    failed = failed_span(error) if error is not None else None
    if failed is not None and failed.trace_id == span_context.trace_id:
        trace["span_id"] = f"{failed.span_id:016x}"
    if event.get("type") == "check_in":  # has no transaction
        return
    root: Any = _root_of(span_context.trace_id)
    name = getattr(root, "name", None)
    if name:
        meaning = infer(name, root.kind, root.attributes or {})
        event["transaction"] = meaning.name
        event["transaction_info"] = {"source": meaning.source}


def _root_of(trace_id: int) -> Span | None:
    """Return the local root of a trace: this scope's, else the innermost of any."""
    for root in (local_root(), *(known.span for known in reversed(_local_roots.get()))):
        if root is not None and root.get_span_context().trace_id == trace_id:
            return root
    return None
