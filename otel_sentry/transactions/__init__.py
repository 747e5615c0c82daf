"""
Turn finished spans into transaction events, off the request path.

``collect`` (request path) → ``assemble`` (background thread) → ``event`` (pure).
"""

from __future__ import annotations

from otel_sentry.transactions.collect import SentrySpanProcessor

__all__ = ["SentrySpanProcessor"]
