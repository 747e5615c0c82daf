"""Set up sentry-sdk's client: its integrations on, its tracing off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger

from otel_sentry.transport import transport_class

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient

    from otel_sentry.errors.hooks import Hooks
    from otel_sentry.settings import Settings


# sentry-sdk's default costs two to three times the time for a tenth less bytes.
_COMPRESSION_LEVEL = 3


def set_up_client(settings: Settings, hooks: Hooks) -> BaseClient:
    """Initialise sentry-sdk with the settings and return its client."""
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
        transport=transport_class(settings.connections),
        _experiments={"transport_compression_level": _COMPRESSION_LEVEL},
    )
    client = sentry_sdk.get_client()
    hooks.install(client)
    hooks.adopt()
    return client
