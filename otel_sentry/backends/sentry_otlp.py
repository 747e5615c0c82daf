"""The backend ``sentry_otlp``: to the OTLP endpoint of the DSN's own project (open beta)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from otel_sentry.backends._annotate import Annotator
from otel_sentry.backends._batches import Batches
from otel_sentry.backends._otlp_http import EncodingExporter, HttpExporter, Session, say_less
from otel_sentry.backends._queue import BatchQueue, Limits
from otel_sentry.capture import count_lost
from otel_sentry.dsn import mask_dsn, otlp_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests
    from opentelemetry.sdk.trace import SpanProcessor

    from otel_sentry.backends import Bridge

# What Sentry's own SDKs send at most in one go.
_MAX_SPANS = 1000
_TIMEOUT_SECONDS = 10.0
_CATEGORIES = frozenset({"span", "transaction"})

# OTEL_EXPORTER_OTLP_HEADERS may hold the Collector's password: it is none of Sentry's business.
_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-encoding", "content-length"}
    | {"content-type", "user-agent", "x-sentry-auth"}
)


def build(bridge: Bridge) -> SpanProcessor:
    """Return the span processor."""
    say_less("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    return Batches(
        BatchQueue(
            lambda: _exporter(bridge),
            f"Sentry ({mask_dsn(bridge.settings.dsn)})",
            Limits.from_env(os.environ, max_batch=_MAX_SPANS),
            _count_lost,
        )
    )


class SentrySession(Session):
    """Send to Sentry what is Sentry's, and honour its rate limits."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send without the headers that the environment has for a Collector."""
        for name in [name for name in request.headers if name.lower() not in _HEADERS]:
            del request.headers[name]
        return super().send(request, **kwargs)

    def pause(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Return the seconds to wait, also where Sentry takes this request as the last one."""
        limited = rate_limit(headers.get("X-Sentry-Rate-Limits", ""))
        pause = super().pause(status, headers)
        return max(limited or 0.0, pause or 0.0) if limited or pause is not None else None


def rate_limit(header: str) -> float | None:
    """
    Return the seconds for which Sentry wants no spans; ``None``: it says nothing of the kind.

    Source: https://develop.sentry.dev/sdk/foundations/transport/rate-limiting/
    """
    seconds = []
    for limit in header.split(","):
        after, _, rest = limit.strip().partition(":")
        categories = rest.partition(":")[0]
        if not categories or not _CATEGORIES.isdisjoint(categories.split(";")):
            try:
                seconds.append(float(after))
            except ValueError:
                continue
    return max(seconds, default=None)


def _exporter(bridge: Bridge) -> EncodingExporter:
    from opentelemetry.exporter.otlp.proto.http import Compression

    endpoint, key = otlp_endpoint(bridge.settings.dsn)
    session = SentrySession()
    exporter = HttpExporter(
        endpoint,
        headers={"x-sentry-auth": key},
        timeout=_TIMEOUT_SECONDS,
        compression=Compression.Gzip,
        session=session,
    )
    # OTEL_EXPORTER_OTLP_CERTIFICATE is the Collector's.
    session.verify, session.cert = True, None
    return EncodingExporter(exporter, Annotator(bridge), _count_lost, session)


def _count_lost(spans: int, reason: str) -> None:
    """Count in Sentry's client reports."""
    count_lost(reason, transactions=0, spans=spans)
