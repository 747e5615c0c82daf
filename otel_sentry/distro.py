"""Adapt the launcher's entry points to the pipeline; nothing is decided here."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

from otel_sentry._logging import never_raise
from otel_sentry.env_file import with_env_file
from otel_sentry.instrumentation import keep_refusals_out_of_the_log
from otel_sentry.sdk_variables import drop_bad_limits
from otel_sentry.settings import Settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class SentryDistro(BaseDistro):  # type: ignore[misc] # BaseDistro is untyped
    """Named by the entry point ``opentelemetry_distro``: asked first, and for each library."""

    def _configure(self, **kwargs: Any) -> None:  # noqa: ARG002 - OpenTelemetry's signature
        if os.environ.get("OTEL_SENTRY_ENV_FILE"):
            with never_raise("reading OTEL_SENTRY_ENV_FILE"):
                os.environ.update(with_env_file(os.environ))

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        """Instrument one library with what suits Sentry; nothing while the bridge is off."""
        settings = _active_settings()
        if settings is None:
            return
        from otel_sentry.instrumentation import instrumented, options_for

        super().load_instrumentor(
            entry_point, **{**options_for(entry_point.name, settings), **kwargs}
        )
        instrumented(entry_point.name, settings)
        # What was imported for it lives as long as the process. Full garbage collections, which
        # everything that is kept for a request brings nearer, would look at all of it each time,
        # and hold up requests meanwhile.
        gc.freeze()


class SentryConfigurator:
    """Named by the entry point ``opentelemetry_configurator``: asked to set up the SDK."""

    def configure(self, **kwargs: Any) -> None:
        """Set the bridge up as the environment says; a fault of ours never stops the launcher."""
        _set_up(**kwargs)
        if _active_settings() is None:
            keep_refusals_out_of_the_log()


def _set_up(**kwargs: Any) -> None:
    if os.environ.get("OTEL_CONFIG_FILE", "").strip():
        with never_raise("reading OTEL_CONFIG_FILE"):
            drop_bad_limits(os.environ)
            from otel_sentry import declarative

            if declarative.configure(os.environ):
                return
    settings = Settings.from_env(os.environ)
    if not settings.enabled:
        return
    with never_raise("setting up"):
        # Before the import: the SDK reads some of them then, and raises.
        drop_bad_limits(os.environ)
        from otel_sentry import pipeline

        pipeline.configure(settings, **kwargs)


def _active_settings() -> Settings | None:
    # Nothing is imported to find out that there is nothing to do.
    pipeline = sys.modules.get("otel_sentry.pipeline")
    return pipeline.active_settings() if pipeline is not None else None
