"""Hold the parts of traces until nothing more of them arrives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_sentry.cli.tail.trace import Error, Node, Trace, assemble, error_of, nodes_of

if TYPE_CHECKING:
    from otel_sentry.cli.tail.receiver import Item

# Bounds, so that `tail` can run for days. Printed traces stay too, for the parts that come later.
_MAX_TRACES = 200
_MAX_SPANS = 20_000
_MAX_ERRORS_OF_TRACE = 200

# A trace that never falls quiet is due after so many times the wait.
_PATIENCE = 10


@dataclass
class _Parts:
    nodes: list[Node] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)
    # When the first and the last part arrived that are not shown yet; None if all are.
    news_since: float | None = None
    changed_at: float = 0.0
    shown: bool = False

    def due_at(self, wait: float) -> float | None:
        if self.news_since is None:
            return None
        return min(self.changed_at + wait, self.news_since + _PATIENCE * wait)


class Pending:
    """
    The traces that arrive now. Times are those of one monotonic clock, which the caller reads.

    Args:
        wait: A trace is due when nothing of it arrived for so many seconds.
    """

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._traces: dict[str, _Parts] = {}  # the one that changed last is at the end
        self._evicted: list[tuple[Trace, bool]] = []

    def add(self, item: Item, now: float) -> bool:
        """Take an item; return False if it is no part of a trace."""
        nodes, error = nodes_of(item), error_of(item)
        trace_id = nodes[0].trace_id if nodes else error.trace_id if error else ""
        if not trace_id:
            return False
        parts = self._traces.pop(trace_id, None) or _Parts()
        self._traces[trace_id] = parts
        parts.nodes = [*parts.nodes, *nodes][-_MAX_SPANS:]
        parts.errors = [*parts.errors, *([error] if error else [])][-_MAX_ERRORS_OF_TRACE:]
        parts.changed_at = now
        if parts.news_since is None:
            parts.news_since = now
        self._evict()
        return True

    def seconds_left(self, now: float) -> float | None:
        """Return how long nothing will be due, or None while nothing is awaited."""
        if self._evicted:
            return 0.0
        due = [at for parts in self._traces.values() if (at := parts.due_at(self._wait))]
        return max(0.0, min(due) - now) if due else None

    def take_due(self, now: float) -> list[tuple[Trace, bool]]:
        """Return the traces to show now, each with: was it shown before, with fewer parts?"""
        due, self._evicted = self._evicted, []
        for trace_id, parts in self._traces.items():
            at = parts.due_at(self._wait)
            if at is not None and at <= now:
                due.append(_show(trace_id, parts))
        return due

    def waiting(self) -> list[tuple[Trace, bool]]:
        """Return the traces with news that are not due yet, each as `take_due` does."""
        return [
            (assemble(trace_id, parts.nodes, parts.errors), parts.shown)
            for trace_id, parts in self._traces.items()
            if parts.news_since is not None
        ]

    def _evict(self) -> None:
        """Forget the traces that changed least recently; what is unseen of them is due at once."""
        spans = sum(len(parts.nodes) for parts in self._traces.values())
        while len(self._traces) > _MAX_TRACES or (spans > _MAX_SPANS and len(self._traces) > 1):
            trace_id = next(iter(self._traces))
            parts = self._traces.pop(trace_id)
            spans -= len(parts.nodes)
            if parts.news_since is not None:
                self._evicted.append(_show(trace_id, parts))


def _show(trace_id: str, parts: _Parts) -> tuple[Trace, bool]:
    shown_before, parts.shown, parts.news_since = parts.shown, True, None
    return assemble(trace_id, parts.nodes, parts.errors), shown_before
