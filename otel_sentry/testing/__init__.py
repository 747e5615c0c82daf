"""
Test what your application sends to Sentry, with pytest: the fixture ``captured_sentry``.

The plugin is registered by the entry point ``pytest11``; nothing is imported, set up or patched
for tests that do not ask for the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_sentry.testing._captured import CapturedSentry

__all__ = ["CapturedSentry"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from otel_sentry.testing._captured import CapturedSentry

    return CapturedSentry
