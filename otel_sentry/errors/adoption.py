"""
Adopt every sentry-sdk client, ours or one that the application makes itself.

It keeps its options and hooks; it gets our hooks, 401 and 403 from Starlette's integration, and,
where its transport is sentry-sdk's plain one, our delivery.

sentry-sdk tells nobody that a client was made, so ``Scope.set_client`` is wrapped, here and nowhere
else. Without it a client would be adopted at its first event: after the first request was traced
twice, and never by an answer of 401.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk import Scope
from sentry_sdk.scope import add_global_event_processor
from sentry_sdk.transport import HttpTransport

from otel_sentry._logging import never_raise
from otel_sentry.errors.breadcrumbs import remove_replaced
from otel_sentry.errors.linking import note_base_scope
from otel_sentry.errors.request import place_request
from otel_sentry.errors.status_handlers import capture_in_status_handlers
from otel_sentry.transport import SentryTransport, transport_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.client import BaseClient

    from otel_sentry.errors.hooks import Hooks
    from otel_sentry.options import Options

# What sentry-sdk's integrations of Starlette and FastAPI capture unless they are told otherwise.
_DEFAULT_STATUS_CODES = frozenset(range(500, 600))

_PATIENCE_SECONDS = 2.0

_adopters: list[Adopter] = []  # at most one: the last that was started


class Adopter:
    """
    Adopts clients for one bridge.

    Args:
        hooks: What each client gets.
        options: Where the status codes stand.
        connections: Limit of requests to Sentry at once.
    """

    def __init__(self, hooks: Hooks, options: Options, connections: int) -> None:
        self._hooks = hooks
        self._options = options
        self._connections = connections
        self._transport: SentryTransport | None = None

    def start(self) -> None:
        """Adopt the active client, and each when a scope gets it, or at its first event."""
        if not _adopters:
            add_global_event_processor(_process)
            Scope.set_client = _adopting(Scope.set_client)  # type: ignore[method-assign]
        _adopters[:] = [self]
        note_base_scope()
        _adopt(sentry_sdk.get_client())

    def adopt(self, client: BaseClient) -> None:
        """Make the client one of ours; again does nothing."""
        if not isinstance(client, sentry_sdk.Client):
            return  # none that sends
        if self._hooks.install(client):
            remove_replaced(client)
            self._capture_refusals(client)
            self._deliver(client)

    def _capture_refusals(self, client: BaseClient) -> None:
        for name in ("starlette", "fastapi"):
            integration: Any = client.get_integration(name)
            codes = getattr(integration, "failed_request_status_codes", None)
            if codes == _DEFAULT_STATUS_CODES:
                integration.failed_request_status_codes = _StatusCodes(self._options)
            if getattr(integration, "middleware_spans", False):
                # Objects for each middleware, and each message, that nobody asks for.
                integration.middleware_spans = False
        if client.get_integration("starlette") is not None:
            capture_in_status_handlers()

    def _deliver(self, client: BaseClient) -> None:
        old = client.transport
        if type(old) is HttpTransport and client.options.get("transport") is None:
            # From the same options; what the old one may hold already leaves first.
            old.flush(_PATIENCE_SECONDS)
            client.transport = transport_class(self._connections)(client.options)
            if client.monitor is not None:
                client.monitor.transport = client.transport
            old.kill()
        if isinstance(client.transport, SentryTransport):
            if self._transport is not None:
                client.transport.before_flush = self._transport.before_flush
            self._transport = client.transport


class _StatusCodes:
    """The status codes that are sent, whatever they are when one is looked for."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def __contains__(self, code: Any) -> bool:
        return code in self._options.failed_request_status_codes


def _adopting(set_client: Callable[..., None]) -> Callable[..., None]:
    @wraps(set_client)
    def call(self: Scope, client: BaseClient | None = None) -> None:
        _adopt(client)
        set_client(self, client)

    return call


def _adopt(client: BaseClient | None) -> None:
    with never_raise("adopting a client of sentry-sdk"):
        if client is not None and _adopters:
            _adopters[0].adopt(client)


def _process(event: Any, hint: Any) -> Any:  # noqa: ARG001 - sentry-sdk's signature
    _adopt(sentry_sdk.get_client())
    with never_raise("adding the request"):
        place_request(event)
    return event
