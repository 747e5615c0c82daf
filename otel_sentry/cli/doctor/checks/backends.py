"""Where traces go: are the backends known, complete, and do they answer?"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from otel_sentry import sdk_variables
from otel_sentry.cli.doctor._finding import Finding, error, ok, warning
from otel_sentry.cli.doctor._installed import pip_check, pip_install
from otel_sentry.cli.doctor._network import endpoint_findings
from otel_sentry.settings import NEED_DSN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

_OTLP = {"otlp": "", "otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}
_DEFAULT_PORTS = {"http/protobuf": 4318, "grpc": 4317}


def backends(situation: Situation) -> Iterator[Finding]:
    """Is each name of OTEL_TRACES_EXPORTER something that can send, and is the SDK content?"""
    # A protocol that is wrong for two signals is one finding.
    yield from dict.fromkeys([*_named(situation), *_of_the_sdk(situation)])


def _named(situation: Situation) -> Iterator[Finding]:
    from otel_sentry.backends import TO_SENTRY

    names = situation.settings.traces_exporter
    if not names:
        yield warning(
            "OTEL_TRACES_EXPORTER=none: errors alone are sent", "unset OTEL_TRACES_EXPORTER"
        )
    for name in names:
        if name in NEED_DSN and not situation.settings.dsn:
            yield warning(f"{name} does nothing without a DSN", "set SENTRY_DSN")
        elif name in _OTLP:
            yield from _collector(situation, _OTLP[name])
        elif name in _known():
            yield _loaded(name)
        else:
            yield _unknown(name)
    first, *twice = [name for name in TO_SENTRY if name in names] or [""]
    if twice:
        yield warning(
            f"{twice[0]} beside {first} is ignored: Sentry would have each trace twice",
            "keep one of the two in OTEL_TRACES_EXPORTER",
        )


def _of_the_sdk(situation: Situation) -> Iterator[Finding]:
    """Yield what the SDK is not told: else it would set up no signal at all."""
    environ = situation.environ
    for mistake in (*sdk_variables.limits(environ), *sdk_variables.components(environ)):
        yield _ignored(mistake)


def _ignored(mistake: sdk_variables.Mistake) -> Finding:
    return error(
        f"{mistake.variable}={mistake.text} is ignored: {mistake.reason};"
        f" {mistake.instead or 'the default'} is used",
        pip_install("'otel-sentry[grpc]'") if "pip install" in mistake.fix else mistake.fix,
    )


def _known() -> set[str]:
    from otel_sentry.backends import BACKENDS

    registered = entry_points(group="opentelemetry_traces_exporter")
    return {*BACKENDS, *(one.name for one in registered)}


def _loaded(name: str) -> Finding:
    from otel_sentry.backends import BACKENDS

    try:
        if name in BACKENDS:
            import_module(f"otel_sentry.backends.{name}")
    except ImportError as problem:
        return error(f"{name} cannot be loaded: {problem}", pip_check())
    return ok(f"{name} gets the traces")


def _unknown(name: str) -> Finding:
    close = get_close_matches(name, sorted(_known()), n=1)
    return error(
        f"OTEL_TRACES_EXPORTER: no backend and no installed exporter is called {name!r}",
        f"did you mean {close[0]}?" if close else "install the package that brings it",
    )


def _collector(situation: Situation, protocol: str) -> Iterator[Finding]:
    environ = situation.environ
    named = {**environ, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol} if protocol else environ
    for mistake in sdk_variables.protocols(named, "traces"):
        yield _ignored(mistake)
    protocol = sdk_variables.usable_protocol(named, "traces")
    port = _DEFAULT_PORTS[protocol]
    endpoint = (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
        or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
        or f"http://localhost:{port}"
    )
    other = next(number for number in _DEFAULT_PORTS.values() if number != port)
    if urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").port == other:
        yield warning(
            f"otlp speaks {protocol}, and port {other} is that of the other protocol",
            f"use port {port}, or set OTEL_EXPORTER_OTLP_PROTOCOL",
        )
    if protocol == sdk_variables.HTTP and (no_url := sdk_variables.without_scheme(environ)):
        yield error(
            f"{no_url[0]}={no_url[1]} does not start with http:// or https://: no span arrives",
            f"set {no_url[0]} to http://{no_url[1].rpartition('://')[2]}",
        )
        return
    yield from endpoint_findings("the Collector", endpoint, situation)
