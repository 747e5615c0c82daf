"""
Let a recorded span cost the request less.

Most of what a span costs is what instrumentations set on it: for each attribute OpenTelemetry takes
two locks, and asks for every type that a value may have. Each span has room for events and links,
which nearly none has. And once a span has ended, it is copied for the span processors. There is no
hook for the class of spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import trace
from opentelemetry.sdk.trace import _Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Link

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

    def _new_events(self) -> Any:
        return ()

    def _new_links(self, links: Sequence[Link]) -> Any:
        return super()._new_links(links) if links else ()

    def _add_event(self, event: Any) -> None:
        with self._lock:
            if type(self._events) is tuple:
                self._events = super()._new_events()  # type: ignore[no-untyped-call]
        super()._add_event(event)

    def _add_link(self, link: Link) -> None:
        with self._lock:
            if type(self._links) is tuple:
                self._links = super()._new_links(())
        super()._add_link(link)

    def _readable_span(self) -> ReadableSpan:
        """Return the span itself, which refuses every change once it has ended."""
        return self


def make_spans_lean() -> None:
    """Let OpenTelemetry's tracers, those that are there already, too, make lean spans."""
    if vars(trace).get("_Span") is _Span:
        vars(trace)["_Span"] = LeanSpan
