"""Scrub the names of spans while requests wait for them: each name once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_sentry.scrubbing._scrubber import Scrubber

_MAX_REMEMBERED = 1024
_MAX_NAME = 200  # of ``semantics``: what is as long was cut there


class Names:
    """
    Scrub names that leave with outgoing requests, and remember them: names repeat.

    Args:
        scrubber: The rules.
    """

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._callback: Callable[..., Any] | None = None
        self._known: dict[str, str] = {}  # bounded by _MAX_REMEMBERED

    def __call__(self, name: str) -> str:
        """Return the name without secrets; empty where it is cut, perhaps through one."""
        callback = self._scrubber.callback
        if callback is not self._callback or len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
            self._callback = callback
        known = self._known.get(name)
        if known is None:
            known = self._scrubber.text(name) if len(name) < _MAX_NAME else ""
            self._known[name] = known
        return known
