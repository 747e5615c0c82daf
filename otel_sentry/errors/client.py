"""Set up sentry-sdk's client: its integrations on, its tracing off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger

from otel_sentry._logging import logger
from otel_sentry._sentry_sdk import init, known_options, personal_data
from otel_sentry.transport import SentryTransport, transport_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentry_sdk.client import BaseClient

    from otel_sentry.settings import Settings


# sentry-sdk's default costs two to three times the time for a tenth less bytes.
_COMPRESSION_LEVEL = 3

_PATIENCE_SECONDS = 2.0


def application_client() -> BaseClient | None:
    """Return the client that the application made itself; ``None``: it made none that sends."""
    client: BaseClient = sentry_sdk.get_client()
    return client if client.dsn and not _is_ours(client) else None


def set_up_client(settings: Settings, options: Mapping[str, Any] | None = None) -> BaseClient:
    """
    Return the application's own client, else initialise sentry-sdk with the settings.

    Args:
        settings: What is known of the client.
        options: More options of ``sentry_sdk.init()``; those it refuses are left out, and warned
            of.
    """
    own = application_client()
    if own is not None:
        return own
    ignore_logger("otel_sentry")
    before = sentry_sdk.get_client()
    try:
        init(_options(settings, options or {}))
    except Exception as error:
        if not options:
            raise
        logger.warning(
            "sentry_sdk.init() refuses the options %s (%s). They are ignored; correct them in"
            " otel_sentry.init().",
            ", ".join(sorted(options)),
            error,
        )
        init(_options(settings, {}))
    after = sentry_sdk.get_client()
    if _is_ours(before):
        old, new = before.transport, after.transport
        if isinstance(old, SentryTransport) and new is not None and before.dsn == after.dsn:
            old.hand_over(new)
        before.close(timeout=_PATIENCE_SECONDS)
    return after


def _options(settings: Settings, options: Mapping[str, Any]) -> dict[str, Any]:
    experiments = {"transport_compression_level": _COMPRESSION_LEVEL}
    ours = {
        "dsn": settings.dsn,
        "environment": settings.environment,
        "release": settings.release,
        "sample_rate": settings.sample_rate,
        **personal_data(send=settings.send_default_pii),
        "debug": settings.debug,
        "transport": transport_class(settings.connections),
    }
    return {
        **known_options(ours),
        **options,
        # None, not 0: with None sentry-sdk's integrations create no spans at all.
        "traces_sample_rate": None,
        "_experiments": {**experiments, **options.get("_experiments", {})},
    }


def _is_ours(client: BaseClient) -> bool:
    transport = client.options.get("transport")
    return isinstance(transport, type) and issubclass(transport, SentryTransport)
