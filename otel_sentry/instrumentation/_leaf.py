"""
Make no spans for calls that no backend would show, where nothing depends on them.

A query carries no header, and nothing runs inside its span. Where its parent lives here and is not
recorded, that parent stands for it: what OpenTelemetry would make is thrown away, and is most of
what instrumenting such a call costs. So it is with plumbing that goes well.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanKind, StatusCode

from otel_sentry._logging import never_raise

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from opentelemetry.trace import Span, Tracer


class LeafTracerProvider(trace.TracerProvider):
    """
    The global tracer provider, to be passed to the instrumentor of a library of queries.

    Args:
        plumbing: Names of spans that are made only where what they stand for fails.
    """

    def __init__(self, plumbing: Collection[str] = ()) -> None:
        self._plumbing = plumbing

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """Return the global provider's tracer; its arguments."""
        tracer = trace.get_tracer_provider().get_tracer(*args, **kwargs)
        return _LeafTracer(tracer, self._plumbing)


class _LeafTracer(trace.Tracer):
    def __init__(self, tracer: Tracer, plumbing: Collection[str]) -> None:
        self._tracer = tracer
        self._plumbing = plumbing

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
        if name in self._plumbing:
            return _IfItFails(self._tracer, name, context, kind, attributes)
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
        _end(self._span, error)


class _IfItFails(NonRecordingSpan):
    """A span that is made in the end, and only if what it stands for has failed; then it is it."""

    def __init__(
        self, tracer: Tracer, name: str, context: Any, kind: SpanKind, attributes: Any
    ) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)
        self._start = partial(tracer.start_span, name, context, kind, start_time=time.time_ns())
        self._attributes = dict(attributes or {})
        self._made: Any = None

    def is_recording(self) -> bool:
        """Let the instrumentation say what it has to say."""
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep an attribute for the span."""
        self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Keep attributes for the span."""
        self._attributes.update(attributes)

    def __enter__(self) -> Span:
        """Leave what is current as it is."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Make the span where there is an error; it began when this did."""
        if isinstance(error, Exception):
            with never_raise("starting a span"):
                self._made = self._start(attributes=self._attributes)
                self._context = self._made.get_span_context()
                _end(self._made, error)

    def __getattr__(self, name: str) -> Any:
        """Return what the span has: an error is linked to the span that it has failed."""
        if name == "_made":  # before there is one
            raise AttributeError(name)
        return getattr(self._made, name)


def _end(span: Span, error: BaseException | None) -> None:
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
