"""Choose what `otel-sentry tail` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_sentry.cli.tail.trace import build_traces

if TYPE_CHECKING:
    from otel_sentry.cli.tail.receiver import Item
    from otel_sentry.cli.tail.trace import Trace


@dataclass(frozen=True)
class Filters:
    """What is shown fits all of them; the defaults let everything through."""

    errors: bool = False
    """Only what has an error, or a message."""

    slow: float = 0.0
    """In seconds; only traces that took at least so long."""

    trace: str = ""
    """Only this trace: its id, or the first digits of it."""

    @property
    def active(self) -> bool:
        """Whether anything is left out."""
        return self != Filters()

    def admit(self, trace: Trace) -> bool:
        """Return whether a trace is shown."""
        return (
            trace.trace_id.startswith(self.trace)
            and trace.duration >= self.slow
            and (not self.errors or trace.error_count > 0)
        )

    def admit_item(self, item: Item) -> bool:
        """Return whether what arrived is shown by itself, with nothing known of its trace."""
        if not self.active:
            return True
        traces = build_traces([item])
        if traces:
            return any(map(self.admit, traces))
        # Outside any trace, it has neither an id nor a duration.
        return self.errors and item.kind == "error" and not self.slow and not self.trace
