"""Set up sentry-sdk's client: its integrations on, its tracing off, our filters last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.client import SDK_INFO
from sentry_sdk.integrations.logging import ignore_logger

from otel_sentry.errors.linking import link
from otel_sentry.transport import transport_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import SpanContext
    from sentry_sdk.client import BaseClient

    from otel_sentry.scrubbing import Scrubber
    from otel_sentry.settings import Settings

OURS = "otel_sentry"
"""Key of the hint that comes with our transactions."""

# What these say is about telemetry itself: sent as events it would feed on itself.
_OWN_LOGGERS = ("otel_sentry", "opentelemetry", "sentry_sdk")


def set_up_client(
    settings: Settings,
    scrubber: Scrubber,
    dynamic_sampling_context: Callable[[SpanContext], Mapping[str, str]],
) -> BaseClient:
    """Initialise sentry-sdk with the settings and return its client."""

    def before_send(event: Any, hint: Any) -> Any:  # noqa: ARG001 - sentry-sdk's signature
        if str(event.get("logger") or "").startswith(_OWN_LOGGERS):
            return None
        link(event, dynamic_sampling_context)
        return scrubber.event(event)

    sdk: dict[str, Any] = {}

    def before_send_transaction(event: Any, hint: Any) -> Any:
        scrubbed = scrubber.event(event)
        ours = hint.get(OURS)
        if ours is not None:
            sdk.update({} if sdk else sdk_info(sentry_sdk.get_client()))
            complete(scrubbed, ours, sdk)
        return scrubbed

    ignore_logger("otel_sentry")
    sentry_sdk.init(
        dsn=settings.dsn,
        environment=settings.environment,
        release=settings.release,
        sample_rate=settings.sample_rate,
        # None, not 0: with None sentry-sdk's integrations create no spans at all.
        traces_sample_rate=None,
        # None: `false` is what it is anyway, and naming it is deprecated.
        send_default_pii=settings.send_default_pii or None,
        debug=settings.debug,
        before_send=before_send,
        before_send_transaction=before_send_transaction,
        transport=transport_class(settings.connections),
    )
    return sentry_sdk.get_client()


def sdk_info(client: BaseClient) -> dict[str, Any]:
    """Return what sentry-sdk says of itself in each event."""
    return {**SDK_INFO, "integrations": sorted(client.integrations)}


def complete(event: dict[str, Any], ours: dict[str, Any], sdk: dict[str, Any]) -> None:
    """
    Put our transaction, already plain and scrubbed, into what sentry-sdk made of its outline.

    sentry-sdk applies scopes and hooks to an outline without spans and data: its serialiser costs
    more than everything else together. Its framework integrations' event processors rename
    transactions; the name is ours.
    """
    contexts = {**event.get("contexts", {}), **ours["contexts"]}
    event.update(ours, contexts=contexts, sdk=sdk)
