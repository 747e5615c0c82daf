"""Wire sampler, propagator, backends and Sentry's client together, once."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk._configuration import _initialize_components
from opentelemetry.sdk.metrics._internal import _disable_meter_configurator
from opentelemetry.sdk.resources import Resource

from otel_sentry import backends, processes
from otel_sentry._ids import lend_to_sentry_sdk
from otel_sentry._logging import logger
from otel_sentry._sentry_sdk import HAS_TRANSACTIONS
from otel_sentry._spans import make_spans_lean
from otel_sentry.backends import Bridge
from otel_sentry.backends._exit import register as end_together_at_exit
from otel_sentry.backends._logs import log_processors
from otel_sentry.dsn import mask_dsn
from otel_sentry.errors.adoption import Adopter
from otel_sentry.errors.client import set_up_client
from otel_sentry.errors.hooks import Hooks
from otel_sentry.errors.linking import remember_left_out, start_linking
from otel_sentry.instrumentation import instrument_beyond_range
from otel_sentry.listed_propagators import listed, names_in
from otel_sentry.options import Options
from otel_sentry.propagation import SentryPropagator
from otel_sentry.sampling import build_sampler, with_argument
from otel_sentry.scrubbing import Names, Scrubber
from otel_sentry.sdk_variables import HTTP, components, corrected, exporters
from otel_sentry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler

_active: list[Bridge] = []  # at most one; a list, so that no function rebinds a global


def active_settings() -> Settings | None:
    """Return the settings that traces were set up with in this process; ``None``: they were not."""
    bridge = active_bridge()
    return bridge.settings if bridge is not None else None


def active_bridge() -> Bridge | None:
    """Return what traces were set up with in this process; ``None``: they were not."""
    return _active[0] if _active else None


def configure(
    settings: Settings,
    options: Options | None = None,
    *,
    auto_instrumentation_version: str | None = None,
    set_up: Callable[[Bridge, Sampler | None], None] | None = None,
) -> None:
    """
    Set the bridge up as ``settings`` say; a second call does nothing.

    Args:
        settings: What to set up.
        options: What ``otel_sentry.init()`` was given.
        auto_instrumentation_version: The launcher's version, for the resource.
        set_up: Sets the providers up, as a file says, instead of us.
    """
    if _active:
        return
    _set_log_level(settings.log_level)
    bridge = build_bridge(settings, options)
    names = bridge.settings.backends
    processors = [] if set_up is not None else backends.build_all(bridge)
    if set_up is not None:
        set_up(bridge, _sampler(bridge))
        _follow(bridge.settings)
    elif processors:
        _set_up_traces(bridge, processors, auto_instrumentation_version)
    if processors or set_up is not None:
        _active.append(bridge)
        processes.flush_on_sigterm()
        end_together_at_exit()
    shown = ", ".join(names) or "none"
    logger.info(
        "otel_sentry ready: dsn=%s environment=%s release=%s traces=%s@%s errors=%s",
        mask_dsn(settings.dsn) or "none",
        settings.environment,
        bridge.settings.release,
        shown,
        settings.traces_sample_rate,
        "on" if bridge.client is not None else "off",
    )


def bridge_from(environ: Mapping[str, str]) -> Bridge:
    """Build what the backends share from environment variables."""
    return build_bridge(Settings.from_env(environ))


def build_bridge(
    settings: Settings,
    options: Options | None = None,
    adopter: Callable[[Hooks, Options, int], Adopter] = Adopter,
) -> Bridge:
    """Build what the backends share, and Sentry's client where there is a DSN."""
    options = options or Options()
    scrubber = Scrubber(
        settings.scrub_keys,
        settings.keep_keys,
        scrub_user=settings.scrub_user,
        send_default_pii=settings.send_default_pii,
        options=options,
    )
    propagator = SentryPropagator(settings, Names(scrubber))
    client = None
    if settings.dsn:
        hooks = Hooks(scrubber, propagator.dynamic_sampling_context, options)
        adopter(hooks, options, settings.connections).start()
        client = set_up_client(settings, options.sentry)
    return Bridge(settings, scrubber, propagator, client, options)


def _set_up_traces(
    bridge: Bridge, processors: list[SpanProcessor], auto_instrumentation_version: str | None
) -> None:
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        logger.warning(
            "otel_sentry sends no traces: the application has set a tracer provider of its own."
            " Call otel_sentry.init() first, and leave set_tracer_provider() out."
        )
    variables = {
        # The backends are built here, where one unknown name cannot stop the others.
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": exporters(os.environ, "metrics"),
        "OTEL_LOGS_EXPORTER": exporters(os.environ, "logs"),
        "OTEL_EXPORTER_OTLP_PROTOCOL": _said("OTEL_EXPORTER_OTLP_PROTOCOL") or HTTP,
        "OTEL_PYTHON_ID_GENERATOR": _said("OTEL_PYTHON_ID_GENERATOR") or "random",
        **corrected(components(os.environ)),
    }
    try:
        _initialize(bridge, processors, auto_instrumentation_version, variables)
    except Exception as error:  # noqa: BLE001 - metrics and logs less must not stop traces
        logger.warning(
            "OpenTelemetry cannot set up metrics and logs (%s). Traces and errors go on without"
            " them.",
            bridge.scrubber.text(f"{type(error).__name__}: {error}"),
        )
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            none = dict.fromkeys(("OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")
            _initialize(bridge, processors, auto_instrumentation_version, variables | none)
    propagate.set_global_textmap(_textmap(bridge.propagator))
    _follow(bridge.settings)


def _said(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _initialize(
    bridge: Bridge,
    processors: list[SpanProcessor],
    auto_instrumentation_version: str | None,
    variables: Mapping[str, str],
) -> None:
    """Let OpenTelemetry set its providers up, which it does traces first."""
    has_metrics = variables["OTEL_METRICS_EXPORTER"] != "none"
    with _environment(variables):
        _initialize_components(
            auto_instrumentation_version=auto_instrumentation_version,
            sampler=_sampler(bridge),
            resource_attributes=_scrubbed_resource(bridge.scrubber),
            span_processors=processors,
            export_log_record_processor=log_processors(bridge.scrubber),
            # Else the instrumentations' measurements are made for nobody.
            meter_configurator=None if has_metrics else _disable_meter_configurator,
        )


def _follow(settings: Settings) -> None:
    """Do what comes once the providers are there."""
    start_linking()
    make_spans_lean()
    lend_to_sentry_sdk()
    if HAS_TRANSACTIONS:
        from otel_sentry.errors.idle import make_transactions_idle

        make_transactions_idle()
    disabled = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    instrument_beyond_range({name.strip() for name in disabled}, settings)


def _scrubbed_resource(scrubber: Scrubber) -> dict[str, Any]:
    """Return the resource's attributes that hold secrets, without them: metrics send it, too."""
    found = Resource.create().attributes
    return {key: value for key, value in scrubber.attributes(found).items() if value != found[key]}


def _sampler(bridge: Bridge) -> Sampler | None:
    """Return our sampler; ``None`` lets OpenTelemetry read a standard one from the environment."""
    if bridge.settings.traces_sampler != "sentry":
        return None
    settings = with_argument(bridge.settings, os.environ.get("OTEL_TRACES_SAMPLER_ARG"))
    return build_sampler(settings, bridge.options, bridge.unsampled, remember_left_out)


def _textmap(ours: SentryPropagator) -> Any:
    """
    Return the propagator to install: ours alone, which writes W3C's headers, too.

    With ``OTEL_PROPAGATORS`` set the user's list stands; ``sentry`` in it is ours, although
    sentry-sdk registers one of the same name.
    """
    # Read here, not taken from OpenTelemetry: it has read the variable when it was imported, before
    # OTEL_SENTRY_ENV_FILE was.
    named = names_in(os.environ.get("OTEL_PROPAGATORS", ""))
    if not named:
        return ours
    return CompositePropagator(listed(named, ours, "OTEL_PROPAGATORS"))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set what OpenTelemetry's configuration takes from the environment and nowhere else."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _set_log_level(level: str) -> None:
    """Honour ``OTEL_LOG_LEVEL``, which OpenTelemetry's SDK defines and reads nowhere."""
    if not level:
        return
    number = logging.getLevelName({"warn": "WARNING"}.get(level.lower(), level.upper()))
    if not isinstance(number, int):
        logger.warning("OTEL_LOG_LEVEL=%s is ignored. Set it to debug, info, warn or error.", level)
        return
    for name in ("opentelemetry", "otel_sentry"):
        logging.getLogger(name).setLevel(number)
    if not logging.getLogger().handlers and not logger.handlers:
        # Without any handler Python prints warnings alone, and who asked for info wants to see it.
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False
