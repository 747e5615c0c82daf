"""The backend ``sentry_sdk``: sentry-sdk 2's own span processor, to compare and to migrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_sentry._logging import logger

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from otel_sentry.backends import Bridge


def build(bridge: Bridge) -> SpanProcessor | None:
    """Return the span processor; ``None``, and one warning, where sentry-sdk has none."""
    try:
        from otel_sentry.backends._sdk_processor import SdkSpanProcessor
    except ImportError:
        logger.warning(
            "OTEL_TRACES_EXPORTER=sentry_sdk needs sentry-sdk 2: version 3 has no"
            " SentrySpanProcessor. No traces are sent. Set OTEL_TRACES_EXPORTER=sentry, which does"
            " the same with either."
        )
        return None
    return SdkSpanProcessor(bridge)
