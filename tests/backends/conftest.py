from __future__ import annotations

import pytest

from otel_sentry.backends import Bridge
from otel_sentry.propagation import SentryPropagator
from otel_sentry.scrubbing import Scrubber
from otel_sentry.settings import Settings


@pytest.fixture
def make_bridge():
    """Return a function that makes what backends are built from, without a Sentry client."""

    def make(**environ):
        settings = Settings.from_env(environ)
        return Bridge(settings, Scrubber(), SentryPropagator(settings), None)

    return make
