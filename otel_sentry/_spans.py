"""
Let a recorded span cost the request less.

Most of what a span costs is what instrumentations set on it: for each attribute OpenTelemetry takes
two locks, and asks for every type that a value may have. And once a span has ended, it is copied
for the span processors. It has no hook for the class of its spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import trace
from opentelemetry.sdk.trace import _Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_PLAIN = frozenset({str, int, float, bool})


class LeanSpan(_Span):
    """OpenTelemetry's span, with a short way for what nearly every attribute is."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Set what is plain and below the limits in one step; anything else as ever."""
        held: Any = self._attributes
        said = held._dict  # noqa: SLF001 - the SDK's own: what this class is for
        if (
            type(value) in _PLAIN
            and type(key) is str
            and key
            and held.max_value_len is None
            and len(said) < (held.maxlen or 0)
            # Last: with a GIL no other thread ends the span between this and the rest. Without one
            # an attribute may come late, to a mapping that we only read in copies.
            and self._end_time is None
        ):
            if key in said:
                del said[key]  # what was set first is the first to go, should there be too many
            said[key] = value
        else:
            super().set_attribute(key, value)

    def _readable_span(self) -> ReadableSpan:
        """Return the span itself, which refuses every change once it has ended."""
        return self


def make_spans_lean() -> None:
    """Let OpenTelemetry's tracers, those that are there already, too, make lean spans."""
    if vars(trace).get("_Span") is _Span:
        vars(trace)["_Span"] = LeanSpan
