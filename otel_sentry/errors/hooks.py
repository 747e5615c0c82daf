"""
Be the first and the last to touch what a sentry-sdk client sends.

The hooks go into the options of a client, ours or one that the application made itself: link, drop
what is about ourselves, let the user's own hook run, scrub.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.client import SDK_INFO
from sentry_sdk.scope import add_global_event_processor

from otel_sentry._logging import logger
from otel_sentry.errors.linking import link

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import SpanContext
    from sentry_sdk.client import BaseClient

    from otel_sentry.scrubbing import Scrubber

    Hook = Callable[[Any, Any], Any]

OURS = "otel_sentry"
"""Key of the hint that comes with our transactions."""

# What these say is about telemetry itself: sent as events it would feed on itself.
_OWN_LOGGERS = ("otel_sentry", "opentelemetry", "sentry_sdk")

# Breadcrumbs that sentry-sdk's integrations leave for what is a span here.
_AUTOMATIC = frozenset({"query", "redis", "httplib", "subprocess"})

_TRACING_OPTIONS = ("traces_sample_rate", "traces_sampler")


class Hooks:
    """
    The hooks of one bridge.

    Args:
        scrubber: Touches every event last.
        dynamic_sampling_context: Returns that of the trace that a span context belongs to.
    """

    def __init__(
        self,
        scrubber: Scrubber,
        dynamic_sampling_context: Callable[[SpanContext], Mapping[str, str]],
    ) -> None:
        self._scrubber = scrubber
        self._dynamic_sampling_context = dynamic_sampling_context
        self._clients: weakref.WeakSet[BaseClient] = weakref.WeakSet()
        self._sdk: dict[str, Any] = {}

    def install(self, client: BaseClient) -> None:
        """Chain our hooks before and behind those that the client's options name; once."""
        if client in self._clients:
            return
        self._clients.add(client)
        options = client.options
        options["before_send"] = partial(self._error, options.get("before_send"))
        options["before_send_transaction"] = partial(
            self._transaction, options.get("before_send_transaction")
        )
        if any(options.get(name) is not None for name in _TRACING_OPTIONS):
            options.update(dict.fromkeys(_TRACING_OPTIONS))
            logger.warning(
                "sentry_sdk.init() of the application switches sentry-sdk's own tracing on; it is"
                " switched off, since OpenTelemetry traces. Remove %s there, and set"
                " SENTRY_TRACES_SAMPLE_RATE.",
                " and ".join(_TRACING_OPTIONS),
            )

    def adopt(self) -> None:
        """Install ourselves in every client that the application makes, at its first event."""

        def adopt_current(event: Any, hint: Any) -> Any:  # noqa: ARG001 - sentry-sdk's signature
            self.install(sentry_sdk.get_client())
            return event

        add_global_event_processor(adopt_current)

    def _error(self, users: Hook | None, event: Any, hint: Any) -> Any:
        if str(event.get("logger") or "").startswith(_OWN_LOGGERS):
            return None
        link(event, self._dynamic_sampling_context)
        if users is not None:
            event = users(event, hint)
        return event if event is None else self._scrubber.event(event)

    def _transaction(self, users: Hook | None, event: Any, hint: Any) -> Any:
        ours = hint.get(OURS)
        if ours is None:
            event = event if users is None else users(event, hint)
            return event if event is None else self._scrubber.event(event)
        if users is None:
            return self._complete(self._scrubber.event(event), ours)
        event = self._complete(event, ours)
        # Translations are remembered and shared; a user's hook may change what it gets.
        for part in (event["contexts"]["trace"], *event["spans"]):
            part["data"] = dict(part["data"])
        spans = len(event["spans"])
        reason = "callback_error"
        try:
            event = users(event, hint)
            reason = "before_send"
        finally:
            if reason != "before_send" or event is None:
                # sentry-sdk counts the spans of the outline, which has none.
                _count_lost_spans(reason, spans)
        return event if event is None else self._scrubber.event(event)

    def _complete(self, event: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
        """
        Put our transaction, already plain and scrubbed, into what sentry-sdk made of its outline.

        sentry-sdk applies scopes to an outline without spans and data: its serialiser costs more
        than everything else together. Its framework integrations' event processors rename
        transactions; the name is ours.
        """
        if not self._sdk:
            client = sentry_sdk.get_client()
            self._sdk = {**SDK_INFO, "integrations": sorted(client.integrations)}
        crumbs = [*self._breadcrumbs(), *ours.get("breadcrumbs", {}).get("values", ())]
        contexts = {**event.get("contexts", {}), **ours["contexts"]}
        whole = {**event, **ours, "contexts": contexts, "sdk": self._sdk}
        if crumbs:
            whole["breadcrumbs"] = {"values": sorted(crumbs, key=_time)}
        return whole

    def _breadcrumbs(self) -> list[dict[str, Any]]:
        """Return the breadcrumbs that the application left in the request's scope."""
        left = getattr(sentry_sdk.get_isolation_scope(), "_breadcrumbs", ())
        return [
            self._scrubber.attributes({**crumb, "timestamp": _time(crumb)})
            for crumb in left
            if crumb.get("category") not in _AUTOMATIC and crumb.get("type") != "http"
        ]


def _time(crumb: Mapping[str, Any]) -> float:
    when = crumb.get("timestamp", 0.0)
    return float(when.timestamp() if hasattr(when, "timestamp") else when)


def _count_lost_spans(reason: str, spans: int) -> None:
    transport = sentry_sdk.get_client().transport
    if transport is not None and spans:
        transport.record_lost_event(reason, "span", quantity=spans)
