"""
Make no spans for the calls of a trace that is sampled out, where nothing depends on them.

A query carries no header, and nothing runs inside its span. Where its parent lives here and is not
recorded, that parent stands for it: what OpenTelemetry would make is thrown away, and is most of
what instrumenting such a call costs.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind, StatusCode

from otel_sentry._logging import never_raise

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


class LeafTracerProvider(trace.TracerProvider):
    """The global tracer provider, to be passed to the instrumentor of a library of queries."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """Return the global provider's tracer; its arguments."""
        return _LeafTracer(trace.get_tracer_provider().get_tracer(*args, **kwargs))


class _LeafTracer(trace.Tracer):
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_span(self, name: str, context: Any = None, *args: Any, **kwargs: Any) -> Span:
        parent = trace.get_current_span(context)
        if _is_left_out(parent):
            return parent
        return self._tracer.start_span(name, context, *args, **kwargs)

    def start_as_current_span(
        self,
        name: str,
        context: Any = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        parent = trace.get_current_span(context)
        if _is_left_out(parent):
            return nullcontext(parent)
        if args or kwargs:
            return self._tracer.start_as_current_span(
                name, context, kind, attributes, *args, **kwargs
            )
        return _Current(self._tracer.start_span(name, context, kind, attributes))


class _Current:
    """What OpenTelemetry's does by default, without its two generators."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        detach(self._token)
        span = self._span
        try:
            if isinstance(error, Exception) and span.is_recording():
                with never_raise("recording an exception"):
                    span.record_exception(error)
                    span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
        finally:
            span.end()


def _is_left_out(span: Span) -> bool:
    if span.is_recording():
        return False
    found = span.get_span_context()
    return found.is_valid and not (found.is_remote or found.trace_flags.sampled)
