"""Keep the finished spans of one local root, and of what was started below it in this process."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

_KEY = "otel_sentry.segment"

_DISCARDED = -1  # the generation of no process

_Item = TypeVar("_Item")


class Segment:
    """
    The spans of one local root.

    It travels with its spans (see :func:`attach`), so nothing maps ids to segments, and a segment
    whose spans are never ended goes when they are collected. No lock: each step is one atomic
    operation of a built-in container, in an order that loses nothing (see ``drain``).
    """

    __slots__ = (
        "__weakref__",
        "abandoned",
        "absent",
        "at_end",
        "dropped",
        "finished",
        "generation",
        "open",
        "queued",
        "room",
        "root_ended",
        "root_id",
        "unread",
    )

    def __init__(
        self, root_id: int, generation: int, abandoned: deque[int], max_children: int
    ) -> None:
        self.root_id = root_id
        self.room = max_children
        """Spans that are taken without a look at them; 0 once there were more."""

        self.abandoned = abandoned
        """Where the number of spans goes that are collected as garbage with the segment."""

        self.at_end: Callable[[], None] | None = None
        """Called when the local root ends."""

        self.generation = generation
        """The process (counted in forks) in which the segment was opened."""

        self.open: set[int] = set()
        """Ids of started and not ended spans; bounded by what the application keeps open."""

        self.finished: deque[ReadableSpan] = deque()
        """Ended spans not yet taken; bounded by ``max_spans``."""

        self.unread: deque[None] = deque()
        """One for each of the finished spans, the first ones, that may be noise and make room."""

        self.dropped: deque[int] = deque()
        """Numbers of spans over the limit; a deque, since ``+= 1`` is no atomic operation."""

        self.absent: dict[int, int] = {}
        """The parents of noise that made room, by its ids; bounded by the span processor."""

        self.root_ended = False
        """Whether the local root is over; what ends later is late."""

        self.queued = False

    def discard(self) -> None:
        """Forget the spans; what ends later belongs to no segment."""
        self.generation = _DISCARDED
        self.finished.clear()
        self.dropped.clear()

    def __del__(self) -> None:
        lost = len(self.finished) + sum(self.dropped)
        if lost:
            self.abandoned.append(lost)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a span context that carries the segment be pickled: another process gets none."""
        return (type(None), ())


def take_all(queue: deque[_Item]) -> Iterator[_Item]:
    """Take what a deque holds, which others append to, and take from, at the same time."""
    while True:
        try:
            item = queue.popleft()
        except IndexError:
            return
        yield item


def attach(span_context: SpanContext, segment: Segment) -> None:
    """
    Let ``segment`` travel with ``span_context``.

    ``on_start`` and ``on_end`` may get different span objects, which share this one, and children
    get it as their parent.
    """
    span_context.__dict__[_KEY] = segment


def segment_of(span_context: SpanContext) -> Segment | None:
    """Return the segment that travels with ``span_context``."""
    segment: Segment | None = span_context.__dict__.get(_KEY)
    return segment
