"""
sentry-sdk 2's ``SentrySpanProcessor``, kept from harming.

Ours are the sampling decision, the propagator, error linking, the filters and the scrubbing. What
it makes of the spans is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations.opentelemetry.span_processor import SentrySpanProcessor
from sentry_sdk.tracing import Transaction
from sentry_sdk.tracing_utils import Baggage

from otel_sentry._background import after_fork_in_child
from otel_sentry._logging import report
from otel_sentry.backends._annotate import is_segment
from otel_sentry.backends._noise import NoiseFilter
from otel_sentry.errors.linking import remember_root

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from typing_extensions import Self

    from otel_sentry.backends import Bridge

_SHUTDOWN_SECONDS = 2.0


class SdkSpanProcessor(SentrySpanProcessor):
    """
    sentry-sdk's processor: its maps of this instance, its faults not the application's.

    Not called is its constructor: that registers an event processor which gives transactions the
    ids of whatever span is current. Errors are linked by ours.
    """

    def __new__(cls, bridge: Bridge) -> Self:  # noqa: ARG004
        """Return a new one; sentry-sdk's always returns the same."""
        return object.__new__(cls)

    def __init__(self, bridge: Bridge) -> None:  # its own is not called, see the class
        self._bridge = bridge
        self._is_noise = NoiseFilter(bridge)
        self._forget()
        after_fork_in_child(self._forget)

    def _forget(self) -> None:
        # Bounded by what the application keeps open for ten minutes.
        self.otel_span_map = {}
        self.open_spans = {}

    def on_start(self, otel_span: Any, parent_context: Context | None = None) -> None:
        """Start a transaction or span of sentry-sdk."""
        if not otel_span.context.trace_flags.sampled:
            return
        try:
            # The application may make its own client at any time.
            options: dict[str, Any] = sentry_sdk.get_client().options
            if (options.get("instrumenter"), options.get("traces_sample_rate")) != ("otel", 1.0):
                # Rate 1: our sampler has decided already.
                options.update(instrumenter="otel", traces_sample_rate=1.0)
            if is_segment(otel_span):
                remember_root(otel_span)
            super().on_start(otel_span, parent_context)
        except Exception as error:  # noqa: BLE001 - its maps are used without a lock
            report("starting a span", error)

    def on_end(self, otel_span: ReadableSpan) -> None:
        """Finish it; a transaction leaves with the trace's own sampling context."""
        try:
            found = self.otel_span_map.get(f"{otel_span.context.span_id:016x}")
            if isinstance(found, Transaction):
                context = self._bridge.propagator.dynamic_sampling_context(otel_span.context)
                found._baggage = Baggage(dict(context), mutable=False)  # noqa: SLF001
            super().on_end(otel_span)
        except Exception as error:  # noqa: BLE001
            report("ending a span", error)

    def _is_sentry_span(self, otel_span: ReadableSpan) -> bool:
        """Return whether the span is left out; sentry-sdk's knows old attribute names alone."""
        return self._is_noise(otel_span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until sentry-sdk has sent everything."""
        sentry_sdk.flush(timeout_millis / 1000)
        return True

    def shutdown(self) -> None:
        """Flush within two seconds."""
        sentry_sdk.flush(_SHUTDOWN_SECONDS)
