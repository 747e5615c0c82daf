"""The OpenTelemetry distribution for Python teams that use Sentry."""

from __future__ import annotations

from otel_sentry.__about__ import __version__

__all__ = ["__version__"]
