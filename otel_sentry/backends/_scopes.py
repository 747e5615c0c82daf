"""Instrumentation scopes without secrets: a library may say what it likes of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_sentry.scrubbing import Scrubber

_MAX_REMEMBERED = 1024


class ScrubbedScopes:
    """
    Scrub scopes, each once; safe for one thread.

    Args:
        scrubber: The rules.
    """

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._callback: Callable[..., Any] | None = None
        self._known: dict[InstrumentationScope, InstrumentationScope] = {}  # by _MAX_REMEMBERED

    def __call__(self, scope: InstrumentationScope | None) -> InstrumentationScope | None:
        """Return the scope without secrets in its name, version, schema URL and attributes."""
        if scope is None:
            return None
        if len(self._known) >= _MAX_REMEMBERED or self._scrubber.callback is not self._callback:
            self._callback = self._scrubber.callback
            self._known.clear()
        known = self._known.get(scope)
        if known is None:
            self._known[scope] = known = self._scrubbed(scope)
        return known

    def _scrubbed(self, scope: InstrumentationScope) -> InstrumentationScope:
        text = self._scrubber.text
        return InstrumentationScope(
            text(scope.name or ""),
            text(scope.version) if scope.version else scope.version,
            text(scope.schema_url) if scope.schema_url else scope.schema_url,
            self._scrubber.attributes(scope.attributes or {}),
        )
