"""
Where traces go: one module a backend, each with ``build(bridge)``, and this registry.

Every backend scrubs with the same rules, off the request path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from otel_sentry._logging import logger, report
from otel_sentry.options import Options
from otel_sentry.sampling.unsampled import Unsampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter
    from sentry_sdk.client import BaseClient

    from otel_sentry.propagation import SentryPropagator
    from otel_sentry.scrubbing import Scrubber
    from otel_sentry.settings import Settings

BACKENDS = ("sentry", "otlp", "sentry_otlp", "sentry_sdk", "console")
"""The backends that this package brings; each is a module of this one."""

# OpenTelemetry's names of the same thing with the protocol fixed.
_OTLP = {"otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}

TO_SENTRY = ("sentry", "sentry_otlp", "sentry_sdk")
"""Of these only the first that is named is built: Sentry would have each trace twice."""


@dataclass(frozen=True)
class Bridge:
    """What the backends share."""

    settings: Settings
    scrubber: Scrubber
    propagator: SentryPropagator
    client: BaseClient | None
    """sentry-sdk's client; ``None`` without a DSN."""

    options: Options = field(default_factory=Options)
    unsampled: Unsampled = field(default_factory=Unsampled)


def build_all(bridge: Bridge) -> list[SpanProcessor]:
    """Return the span processor, if any, that feeds all backends of the settings."""
    names = bridge.settings.backends
    first = next((name for name in TO_SENTRY if name in names), "")
    built: list[SpanProcessor] = []
    for name in names:
        if name in TO_SENTRY and name != first:
            logger.warning(
                "OTEL_TRACES_EXPORTER=%s: %s beside %s is ignored: Sentry would have each trace"
                " twice. Choose one of the two.",
                ",".join(names),
                name,
                first,
            )
        elif processor := build(name, bridge):
            built.append(processor)
    if names and not built:
        logger.warning(
            "OTEL_TRACES_EXPORTER=%s: no backend is left, so no traces are sent.", ",".join(names)
        )
    if len(built) <= 1:
        return built
    from otel_sentry.backends._fan_out import FanOut

    return [FanOut(built)]


def build(name: str, bridge: Bridge) -> SpanProcessor | None:
    """
    Return the span processor of a backend, or of an exporter that another package registers.

    ``None``, and one warning, where there is none of that name or it cannot be built.
    """
    try:
        processor: SpanProcessor | None
        if name in BACKENDS:
            processor = import_module(f"otel_sentry.backends.{name}").build(bridge)
            return processor
        if name in _OTLP:
            processor = import_module("otel_sentry.backends.otlp").build(bridge, _OTLP[name])
            return processor
        make_exporter = _registered_exporter(name)
        if make_exporter is not None:
            from otel_sentry.backends._batches import scrubbed_batches

            return scrubbed_batches(make_exporter, bridge, f"the exporter {name!r}")
    except Exception as error:  # noqa: BLE001 - one backend less must not stop the others
        report(f"setting up the backend {name!r}", error)
        return None
    close = get_close_matches(name, [*BACKENDS, "none"], n=1)
    logger.warning(
        "OTEL_TRACES_EXPORTER=%s is ignored: no backend or installed exporter has that name.%s"
        " Choose from %s, or install the package that brings it.",
        name,
        f" Did you mean {close[0]}?" if close else "",
        ", ".join([*BACKENDS, "none"]),
    )
    return None


def _registered_exporter(name: str) -> Callable[[], SpanExporter] | None:
    from importlib.metadata import entry_points

    for entry_point in entry_points(group="opentelemetry_traces_exporter", name=name):
        exporter: Callable[[], SpanExporter] = entry_point.load()
        return exporter
    return None
