"""What only code can say: the callbacks and filters that ``otel_sentry.init()`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Options:
    """
    One set for a process: each part of the bridge holds it and asks it when it needs to.

    ``otel_sentry.init()`` may come after the launcher has set everything up, so fields change in
    place.
    """

    traces_sampler: Callable[[dict[str, Any]], float | bool | None] | None = None
    """Returns the rate of a new trace; ``None``: the rules and the base rate apply."""

    scrub: Callable[[str, Any, str | None], Any] | None = None
    """Is told path, value and the rule that would remove it; returns what to send."""
