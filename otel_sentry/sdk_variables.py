"""
Find what OpenTelemetry's SDK would fail over among the variables that it reads itself.

It raises over one bad value of any signal, and then sets up none. So each is left out alone, in the
manner of our own variables. Imports nothing of the SDK, which reads some when it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from otel_sentry._logging import logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, MutableMapping

HTTP, GRPC = "http/protobuf", "grpc"
GRPC_PACKAGE = "opentelemetry.exporter.otlp.proto.grpc"

_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
_ID_GENERATOR = "OTEL_PYTHON_ID_GENERATOR"

# Source: opentelemetry.sdk.environment_variables.
_LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
)


@dataclass(frozen=True)
class Mistake:
    """A variable whose value the SDK cannot use."""

    variable: str
    text: str
    reason: str
    instead: str
    """What the SDK is to read instead; empty: nothing, so that its default counts."""

    fix: str

    def __str__(self) -> str:
        """Return the sentence to log."""
        return (
            f"{self.variable}={self.text} is ignored: {self.reason}. Using"
            f" {self.instead or 'the default'} instead. {self.fix[:1].upper()}{self.fix[1:]}."
        )


def drop_bad_limits(environ: MutableMapping[str, str]) -> None:
    """Remove limits that are no numbers, and warn of them; an empty one, too, is none."""
    for mistake in limits(environ):
        logger.warning("%s", mistake)
        del environ[mistake.variable]
    for name in _LIMITS:
        if not environ.get(name, "unset").strip():
            del environ[name]


def limits(environ: Mapping[str, str]) -> Iterator[Mistake]:
    """Yield the limits that are neither whole numbers nor ``unset``."""
    for name in _LIMITS:
        text = environ.get(name, "").strip()
        if text and text.lower() != "unset" and not _is_limit(text):
            fix = "set it to a whole number from 0, or to unset"
            yield Mistake(name, text, "it is no whole number", "", fix)


def _is_limit(text: str) -> bool:
    try:
        return int(text) >= 0
    except ValueError:
        return False


def components(environ: Mapping[str, str]) -> Iterator[Mistake]:
    """Yield the names, of exporters, protocols and id generators, that nobody has."""
    for signal in ("metrics", "logs"):
        yield from _exporters(environ, signal)
    text = environ.get(_ID_GENERATOR, "").strip()
    if text and (reason := _unusable("opentelemetry_id_generator", text)):
        fix = f"install the package that brings it, or unset {_ID_GENERATOR}"
        yield Mistake(_ID_GENERATOR, text, reason, "random", fix)


def exporters(environ: Mapping[str, str], signal: str) -> str:
    """Return the exporters of ``metrics`` or ``logs``; ``none`` unless one is named."""
    text = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "")
    names = [name for name in map(str.strip, text.split(",")) if name]
    return "none" if "none" in map(str.lower, names) else ",".join(names) or "none"


def _exporters(environ: Mapping[str, str], signal: str) -> Iterator[Mistake]:
    variable, named = f"OTEL_{signal.upper()}_EXPORTER", exporters(environ, signal)
    if named == "none":
        return
    names = named.split(",")
    if "otlp" in names:
        yield from protocols(environ, signal)
    group = f"opentelemetry_{signal}_exporter"
    bad = {name: why for name in names if name != "otlp" and (why := _unusable(group, name))}
    if bad:
        left = ",".join(name for name in names if name not in bad) or "none"
        fix = f"install the package that brings it, or set {variable} to none, otlp or console"
        yield Mistake(variable, ",".join(bad), next(iter(bad.values())), left, fix)


def _unusable(group: str, name: str) -> str:
    """Return why no component of that name can be had; empty: it can."""
    from importlib.metadata import entry_points

    for entry_point in entry_points(group=group, name=name):
        try:
            entry_point.load()
        except Exception as error:  # noqa: BLE001 - it is somebody's module
            return f"it cannot be loaded ({type(error).__name__}: {error})"
        return ""
    return "no installed package has that name"


def protocols(environ: Mapping[str, str], signal: str) -> Iterator[Mistake]:
    """Yield the mistake, if any, in the variable that names the OTLP protocol of a signal."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    variable = own if environ.get(own, "").strip() else _PROTOCOL
    text = environ.get(variable, "").strip()
    if text == GRPC and not _has_grpc():
        fix = "install it: pip install 'otel-sentry[grpc]'"
        yield Mistake(variable, text, "it needs a package that is not installed", HTTP, fix)
    elif text not in {"", GRPC, HTTP}:
        fix = "set it to http/protobuf or grpc"
        yield Mistake(variable, text, "there is no such protocol", HTTP, fix)


def _has_grpc() -> bool:
    try:
        return find_spec(GRPC_PACKAGE) is not None
    except ImportError:  # a part of its path is missing
        return False


def usable_protocol(environ: Mapping[str, str], signal: str) -> str:
    """Return the OTLP protocol of a signal: ``http/protobuf`` or ``grpc``, whichever is there."""
    for mistake in protocols(environ, signal):
        return mistake.instead
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "").strip()
    return own or environ.get(_PROTOCOL, "").strip() or HTTP


def without_scheme(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return variable and text of an endpoint of traces that HTTP cannot use, as it is no URL."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        text = environ.get(name, "").strip()
        if text:
            return None if text.lower().startswith(("http://", "https://")) else (name, text)
    return None


def corrected(mistakes: Iterable[Mistake]) -> dict[str, str]:
    """Return what is to stand in the variables instead, and warn of each mistake."""
    values = {}
    for mistake in mistakes:
        logger.warning("%s", mistake)
        values[mistake.variable] = mistake.instead
    return values
