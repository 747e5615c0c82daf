"""
Find where an exception came from: the span that it failed, and itself inside a wrapper.

An exception is captured where it arrives, and there the spans that it ended are over. Its traceback
still knows them: the frame of ``start_as_current_span()`` in each instrumentation has a ``span``.
"""

from __future__ import annotations

from inspect import getattr_static
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, SpanContext, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_FRAMES = 1000  # bound: Python's own limit of recursion


def failed_span(error: BaseException) -> SpanContext | None:
    """
    Return the innermost span that the exception ended with an error.

    ``None``: it passed none, or only such as are not recorded, or not over yet. What the exception
    was raised from does not count: it happened elsewhere.
    """
    found = None
    for names in _frames(error):
        for span in _spans(names):
            status, is_over = getattr(span, "status", None), getattr(span, "end_time", None)
            if is_over and status is not None and status.status_code is StatusCode.ERROR:
                found = span.get_span_context()
    return found


def passed_span(error: BaseException) -> SpanContext | None:
    """Return the outermost span that the exception passed, recorded or not, over or not."""
    for names in _frames(error):
        for span in _spans(names):
            if span.get_span_context().is_valid:
                return span.get_span_context()
    return None


def unwrapped(error: BaseException | None) -> BaseException | None:
    """Return the exception itself, where billiard carries it with a traceback from elsewhere."""
    if type(error).__name__ == "ExceptionWithTraceback":
        inside = getattr(error, "exc", None)
        if isinstance(inside, BaseException):
            return inside
    return error


def _frames(error: BaseException) -> Iterator[Mapping[str, Any]]:
    """Yield the local variables of the frames, outermost first."""
    place = error.__traceback__
    for _ in range(_MAX_FRAMES):
        if place is None:
            return
        # A traceback that billiard made up has no locals.
        yield getattr(place.tb_frame, "f_locals", {})
        place = place.tb_next


def _spans(names: Mapping[str, Any]) -> Iterator[Span]:
    # The second is how contrib's SQLAlchemy remembers the span of a statement. Whatever else goes
    # by these names is not asked anything: a lazy object would be evaluated, or raise.
    values: tuple[Any, ...] = (
        names.get("span"),
        getattr_static(names.get("context"), "_otel_span", None),
    )
    for value in values:
        if issubclass(type(value), Span):
            yield value
