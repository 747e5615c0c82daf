"""The backend ``console``: spans on standard error, for a look without any server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from otel_sentry.backends._batches import scrubbed_batches

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from otel_sentry.backends import Bridge


def build(bridge: Bridge) -> SpanProcessor:
    """Return the span processor."""
    return scrubbed_batches(lambda: ConsoleSpanExporter(out=sys.stderr), bridge, "standard error")
