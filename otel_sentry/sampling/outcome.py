"""Keep what matters: local segments that ended in an error, or took long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.trace import StatusCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_sentry.settings import Settings

_NANOSECONDS = 1e9


@dataclass(frozen=True)
class Outcome:
    """
    Tell the segments that are sent whatever the trace rate says.

    Every such segment is sent, the sampled ones among them, so each stands for itself alone: its
    weight is 1, not 1 / rate. All others keep the weight of their trace. With that the sum of
    weights estimates all traffic without bias (Horvitz and Thompson, 1952).
    """

    slow_seconds: float
    """Longer ones are kept, too; 0: none."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Outcome | None:
        """Return what ``OTEL_SENTRY_KEEP_ERRORS`` asks for; ``None``: nothing."""
        # Another sampler records nothing that it leaves out.
        if not settings.keep_errors or settings.traces_sampler != "sentry":
            return None
        return cls(settings.keep_slow)

    def matters(self, root: ReadableSpan) -> bool:
        """Return whether the segment of an ended local root is sent in any case."""
        if root.status.status_code is StatusCode.ERROR:
            return True
        if not self.slow_seconds or root.start_time is None or root.end_time is None:
            return False
        return root.end_time - root.start_time > self.slow_seconds * _NANOSECONDS

    def weighed(self, root: ReadableSpan, context: Mapping[str, str]) -> Mapping[str, str]:
        """
        Return the sampling context that the segment's own transaction is sent with.

        Sentry's weight of a transaction is 1 / ``sample_rate`` of its envelope. What is passed on
        to other services keeps the trace's own decision.
        """
        if not self.matters(root):
            return context
        return {**context, "sampled": "true", "sample_rate": "1"}
