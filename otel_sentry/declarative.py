"""
Declarative configuration: what ``OTEL_CONFIG_FILE`` says, with our parts in their places.

OpenTelemetry's ``opentelemetry-configuration`` reads and checks the file and builds providers,
resource and propagators. Ours are the span and log processors, so that nothing leaves unscrubbed,
the sampler where the file names none, and the section ``distribution: {sentry: ...}``.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.propagators.composite import CompositePropagator

from otel_sentry import backends
from otel_sentry._logging import logger
from otel_sentry.backends._batches import scrubbed_batches
from otel_sentry.backends._fan_out import FanOut
from otel_sentry.backends._logs import scrubbed_logs
from otel_sentry.backends._queue import Limits
from otel_sentry.listed_propagators import listed, names_in
from otel_sentry.settings import NEED_DSN, Settings
from otel_sentry.variables import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler

    from otel_sentry.backends import Bridge

_VARIABLE = "OTEL_CONFIG_FILE"


def read(path: str) -> Any:
    """
    Return the configuration of a file; ``None``, and one warning, where it cannot be used.

    Args:
        path: Of a YAML or JSON file.
    """
    try:
        from opentelemetry.configuration import load_config_file
    except ImportError:
        logger.warning(
            "%s=%s is ignored: it needs a package that is not installed. Install it:"
            " pip install 'otel-sentry[config]'",
            _VARIABLE,
            path,
        )
        return None
    # It logs a traceback of what it raises.
    loader = logging.getLogger("opentelemetry.configuration.file._loader")
    loader.disabled = True
    try:
        return load_config_file(path)
    except Exception as error:  # noqa: BLE001 - no mistake in a file stops the application
        lines = str(error).splitlines() or [""]
        logger.warning("%s=%s is ignored: %s: %s", _VARIABLE, path, type(error).__name__, lines[0])
        return None
    finally:
        loader.disabled = False


def environment(config: Any, environ: Mapping[str, str]) -> dict[str, str]:
    """
    Return the environment with what ``distribution: {sentry: ...}`` says instead of the variables.

    Its keys are the fields of :class:`~otel_sentry.settings.Settings`; lists and flags are written
    as YAML has them.
    """
    said = (_mapping(config.distribution).get("sentry")) or {}
    names = {variable.field: variable.name for variable in VARIABLES if variable.field}
    merged = {**environ, "OTEL_TRACES_EXPORTER": ",".join(span_exporters(config)) or "none"}
    for key, value in said.items():
        if key not in names:
            logger.warning(
                "%s: distribution.sentry.%s is ignored: there is no such setting. Choose from %s.",
                _VARIABLE,
                key,
                ", ".join(sorted(names)),
            )
        elif value is not None:
            merged[names[key]] = _text(value)
    return merged


def _mapping(section: Any) -> Mapping[str, Any]:
    if isinstance(section, dict):
        return section
    own: Mapping[str, Any] = getattr(section, "additional_properties", None) or {}
    return own


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def span_exporters(config: Any) -> list[str]:
    """Return the names of the file's span exporters."""
    processors = config.tracer_provider.processors if config.tracer_provider else ()
    return [name for processor in processors if (name := _exporter_name(processor)[0])]


def _exporter_name(processor: Any) -> tuple[str, Any, Any]:
    """Return the exporter's name, its configuration, and the processor's."""
    kind = processor.batch or processor.simple
    if kind is None:
        return "", None, None
    exporter = kind.exporter
    name = next((key for key, value in vars(exporter).items() if _is_chosen(key, value)), "")
    own = getattr(exporter, "additional_properties", None) or {}
    return name or next(iter(own), ""), exporter, kind


def _is_chosen(key: str, value: Any) -> bool:
    return key != "additional_properties" and value is not None


def apply(config: Any, bridge: Bridge, sampler: Sampler | None) -> None:
    """
    Set providers and propagator up as the file says, with processors of ours.

    Args:
        config: What :func:`read` returned.
        bridge: What the backends share.
        sampler: Ours, for a file that names none or ``sentry``.
    """
    from opentelemetry.configuration import ConfigurationError, configure_sdk

    traces = config.tracer_provider
    processors: list[SpanProcessor] = []
    if traces is not None:
        processors = _span_processors(traces.processors, bridge)
        traces.processors = []
        if traces.sampler is None or "sentry" in _mapping(traces.sampler):
            traces.sampler = None
        else:
            sampler = None
    logs = _log_processors(config, bridge)
    propagator = _textmap(config, bridge.propagator)
    config.propagator = None
    try:
        configure_sdk(config)
    except ConfigurationError as error:
        # It sets traces up first, and nothing takes back a provider that is set.
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            raise
        logger.warning("%s: %s. Traces and errors go on without it.", _VARIABLE, error)
    provider: Any = trace.get_tracer_provider()
    if traces is not None and sampler is not None:
        provider.sampler = sampler
    for processor in [FanOut(processors)] if len(processors) > 1 else processors:
        provider.add_span_processor(processor)
    log_provider: Any = get_logger_provider()
    for log_processor in logs:
        log_provider.add_log_record_processor(log_processor)
    propagate.set_global_textmap(propagator)


def _span_processors(configured: list[Any], bridge: Bridge) -> list[SpanProcessor]:
    from opentelemetry.configuration import _tracer_provider

    built: list[SpanProcessor | None] = []
    for one in configured:
        name, exporter, kind = _exporter_name(one)
        if name in backends.BACKENDS and name != "console":
            if bridge.settings.dsn or name not in NEED_DSN:
                built.append(backends.build(name, bridge))
            continue
        make = _maker(_tracer_provider._create_span_exporter, exporter)  # noqa: SLF001
        built.append(scrubbed_batches(make, bridge, f"the exporter {name!r}", _limits(kind)))
    return [processor for processor in built if processor is not None]


def _log_processors(config: Any, bridge: Bridge) -> list[Any]:
    from opentelemetry.configuration import _logger_provider

    if config.logger_provider is None:
        return []
    processors = []
    for one in config.logger_provider.processors:
        kind = one.batch or one.simple
        make = _maker(_logger_provider._create_log_record_exporter, kind.exporter)  # noqa: SLF001
        processors.append(scrubbed_logs(make, bridge.scrubber))
    config.logger_provider.processors = []
    return processors


def _maker(create: Callable[[Any], Any], exporter: Any) -> Callable[[], Any]:
    return lambda: create(exporter)


def _limits(kind: Any) -> Limits:
    """Return what the file says about batches; OTEL_BSP_* do not count where there is a file."""
    queue = getattr(kind, "max_queue_size", None) or Limits.max_queue
    batch = getattr(kind, "max_export_batch_size", None) or Limits.max_batch
    delay = getattr(kind, "schedule_delay", None)
    return Limits(queue, min(queue, batch), Limits.delay if delay is None else delay / 1000)


def _textmap(config: Any, ours: TextMapPropagator) -> TextMapPropagator:
    """Return ours where the file names none; else its own, ours where it says ``sentry``."""
    if config.propagator is None:
        return ours
    named: dict[str, Any] = {}
    for one in config.propagator.composite or ():
        named |= {name: None for name, value in vars(one).items() if _is_chosen(name, value)}
        named |= getattr(one, "additional_properties", None) or {}
    named |= names_in(config.propagator.composite_list or "")
    return CompositePropagator(listed(named, ours, f"{_VARIABLE}: propagator"))


def configure(environ: Mapping[str, str]) -> bool:
    """
    Set everything up as the file of ``OTEL_CONFIG_FILE`` says.

    Returns:
        ``False`` where the file cannot be used: the variables count.
    """
    config = read(environ.get(_VARIABLE, "").strip())
    if config is None:
        return False
    settings = Settings.from_env(environment(config, environ))
    others = config.meter_provider is not None or config.logger_provider is not None
    if config.disabled or settings.sdk_disabled or not (settings.enabled or others):
        return True
    from opentelemetry.configuration import ConfigurationError

    from otel_sentry import pipeline

    try:
        pipeline.configure(settings, set_up=partial(apply, config))
    except ConfigurationError as error:
        logger.warning("%s=%s is ignored: %s", _VARIABLE, environ.get(_VARIABLE, "").strip(), error)
        return False
    return True
