"""The application's own code, read and not run: does it set up what we set up?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._code import calls_of, files_of
from otel_sentry.cli.doctor._finding import Finding, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._code import Call
    from otel_sentry.cli.doctor._situation import Situation

# Arguments of sentry_sdk.init() that make it trace.
_TRACING = (
    "traces_sample_rate",
    "traces_sampler",
    "enable_tracing",
    "profiles_sample_rate",
    "instrumenter",
)

# By the end of their dotted names: what a call does twice, and what mends it.
_SECOND = {
    "OTLPIntegration": (
        "sends the spans to Sentry as well",
        "remove it: otel-sentry sends the traces",
    ),
    "OpenTelemetryIntegration": (
        "makes transactions of the spans as well",
        "remove it: otel-sentry makes them",
    ),
    "SentrySpanProcessor": (
        "makes transactions of the spans as well",
        "remove it: otel-sentry makes them",
    ),
    "set_tracer_provider": (
        "is refused: the launcher has set one",
        "remove it, and configure by OTEL_* variables",
    ),
    "set_global_textmap": (
        "replaces the propagator: sentry-trace is neither read nor written",
        "remove it, or set OTEL_PROPAGATORS",
    ),
    "instrument_app": (
        "is refused: the launcher has instrumented the application",
        "remove it, or leave it to the launcher",
    ),
}


def application(situation: Situation) -> Iterator[Finding]:
    """Does the code trace, or set OpenTelemetry up, by itself?"""
    if not situation.app:
        return
    files = files_of(situation)
    if not files:
        yield warning(
            f"the code of {situation.app} was not found below {situation.directory}",
            "run it where the application starts, or name its file: --app path/to/app.py",
        )
        return
    findings = [finding for call in calls_of(situation) if (finding := _of_call(call))]
    count = f"{len(files)} file{'s' * (len(files) != 1)}"
    yield from findings or [ok(f"{situation.app}: nothing is set up twice ({count} read)")]


def _of_call(call: Call) -> Finding | None:
    if call.name == "sentry_sdk.init":
        tracing = [name for name in _TRACING if name in call.arguments]
        if not tracing:
            return None
        return warning(
            f"{call.place}: sentry_sdk.init({tracing[0]}=...) is switched off, or each request"
            " would be traced twice",
            f"remove {', '.join(tracing)} there, and set SENTRY_TRACES_SAMPLE_RATE",
        )
    name = call.name.rpartition(".")[2]
    if name in _SECOND:
        does, fix = _SECOND[name]
        return warning(f"{call.place}: {name} {does}", fix)
    return None
