"""Leave out what is not the application's work: plumbing, and our own requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind
from sentry_sdk.utils import Dsn

from otel_sentry.semantics.noise import is_noise, is_request_to

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_sentry.backends import Bridge


class NoiseFilter:
    """Tell the spans that no backend shows; ``OTEL_SENTRY_INFRASTRUCTURE_SPANS`` keeps plumbing."""

    def __init__(self, bridge: Bridge) -> None:
        self._keep_plumbing = bridge.settings.infrastructure_spans
        self._endpoints = _own_endpoints(bridge)

    def __call__(self, span: ReadableSpan) -> bool:
        """Return whether the span is left out."""
        attributes = span.attributes or {}
        if span.kind is SpanKind.CLIENT and is_request_to(attributes, self._endpoints):
            # Whatever made the request: a loop of transactions about transactions ends here.
            return True
        if self._keep_plumbing or (span.name == "connect" and not span.status.is_ok):
            # A connection that fails is the application's matter: its error is linked to it.
            return False
        scope = span.instrumentation_scope
        return is_noise(span.name, attributes, scope.name if scope is not None else "")


def _own_endpoints(bridge: Bridge) -> tuple[str, ...]:
    """Return the starts of the URLs that sentry-sdk sends to."""
    if bridge.client is None:
        return ()
    options: dict[str, Any] = bridge.client.options
    endpoints = []
    if bridge.settings.dsn:
        dsn = Dsn(bridge.settings.dsn)
        path = f"{dsn.path}api/{dsn.project_id}/"
        endpoints = [
            f"{dsn.scheme}://{dsn.netloc}{path}",
            f"{dsn.scheme}://{dsn.host}:{dsn.port}{path}",
        ]
    spotlight = options.get("spotlight")
    if spotlight:
        endpoints.append(
            spotlight if isinstance(spotlight, str) else "http://localhost:8969/stream"
        )
    return tuple(endpoints)
