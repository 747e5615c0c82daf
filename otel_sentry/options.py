"""What only code can say: the callbacks and filters that ``otel_sentry.init()`` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container

FAILED_REQUEST_STATUS_CODES = frozenset({401, 403, *range(500, 600)})
"""Who is refused, and what fails here; any other 4xx, 429 included, is the client's affair."""


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

    is_noisy_error: Callable[[BaseException], bool] | None = None
    """Returns whether an exception is not to be sent; raising counts as no."""

    ignore_errors: Collection[type[BaseException] | str] = ()
    """Exceptions not to be sent, subclasses too: classes, names, or names with their module."""

    ignore_loggers: Collection[str] = ()
    """Loggers whose lines, and those of loggers below, become neither events nor breadcrumbs."""

    failed_request_status_codes: Container[int] = FAILED_REQUEST_STATUS_CODES
    """The ``HTTPException`` that are sent, by status code."""

    sentry: dict[str, Any] = field(default_factory=dict)
    """What ``sentry_sdk.init()`` is passed besides the settings."""
