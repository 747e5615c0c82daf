"""
The contenders: what each one sets up, as its own documentation says.

A contender is named by its key of `PEERS`. Where it runs, it reads the environment that
`environment()` returns. `(b)`, `(c)`, `(j)`, `(k)` and `(l)` instrument libraries exactly as we
do; `(e)`, `(f)` and `(g)` as their documentation says.

`(j)` is what `(h)` stands on: spans that go nowhere, and sentry-sdk for errors, of which there are
none. What is imported for them is kept from the garbage collector, as ours does. `(k)` also posts
the same ready-made transaction for each request, `(l)` one that says what its spans say, as they
say it (`floor.py`). What `(h)` takes beyond that is for Sentry's words and scopes, for scrubbing,
and for losing nothing uncounted.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

PEERS = {
    "a": "no observability",
    "b": "OpenTelemetry, no processor",
    "c": "OpenTelemetry, OTLP exporter",
    "d": "sentry-sdk, native tracing",
    "e": "sentry-sdk, `SentrySpanProcessor`",
    "f": "sentry-sdk, `OTLPIntegration`",
    "g": "logfire",
    "h": "**otel-sentry**, `sentry`",
    "i": "**otel-sentry**, `otlp`",
    "j": "(b) and sentry-sdk for errors",
    "k": "(j) and a ready-made transaction",
    "l": "(j) and the plainest transaction",
}
OURS = ("h", "i")
FLOORS = ("j", "k", "l")
OFF = "off"  # ours with an empty DSN
LAUNCHED = (*OURS, OFF)  # by opentelemetry-instrument
SILENT = ("a", "b", "j", OFF)  # these send nothing, at any rate
OTLP = ("c", "f", "g", "i")
RATES = (0.0, 0.1, 1.0)

# Of sentry-sdk; by default it drops what is more than 100 in a burst (benchmarks/delivery.py).
_QUEUE = 1000

ROOT = Path(__file__).parents[1]
# Packages that only some contenders may see: logfire registers a plugin that pydantic imports into
# every process, and opentelemetry-distro a distribution beside ours.
EXTRA_PACKAGES = Path(os.environ.get("BENCH_PACKAGES") or ROOT / ".venv" / "bench")


class RefusedError(Exception):
    """A contender did not do its work; its figures would be worth nothing."""


def environment(peer: str, rate: float, dsn: str, otlp: str) -> dict[str, str]:
    """Return the environment of a contender's processes."""
    path = [str(ROOT), str(ROOT / "benchmarks")]
    if peer == "g":
        path.append(str(EXTRA_PACKAGES / "logfire"))
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "SENTRY_", "LOGFIRE_"))
    }
    environ |= {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONHASHSEED": "0",
        "BENCH_PEER": peer,
        "BENCH_RATE": str(rate),
        "BENCH_DSN": dsn,
        "BENCH_OTLP": otlp,
        # The same for all that export in batches; the default of five seconds makes runs long.
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(rate),
    }
    if peer == OFF:
        environ |= {"SENTRY_DSN": ""}
    if peer in LAUNCHED:
        del environ["OTEL_TRACES_SAMPLER"], environ["OTEL_TRACES_SAMPLER_ARG"]
    if peer in OURS:
        environ |= {"SENTRY_DSN": dsn, "SENTRY_TRACES_SAMPLE_RATE": str(rate)}
    if peer == "i":
        environ |= {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp}
        environ |= {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    return environ


def set_up(peer: str):
    """
    Set a contender up in this process, without instrumenting anything.

    Returns:
        What waits until all that was recorded has left the process.
    """
    rate, dsn = float(os.environ["BENCH_RATE"]), os.environ["BENCH_DSN"]
    _without_brotli()
    return _SET_UP[peer](rate, dsn, os.environ["BENCH_OTLP"])


def instrument(peer: str) -> None:
    """Instrument the service's libraries; the launcher does it for ours."""
    if peer in {"a", "d", *LAUNCHED}:
        return
    if peer == "g":
        import logfire

        logfire.instrument_sqlalchemy(skip_dep_check=True)
        logfire.instrument_redis()
        logfire.instrument_celery()
        return
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    FastAPIInstrumentor().instrument(
        **({"exclude_spans": ["receive", "send"]} if peer in {"b", "c", *FLOORS} else {})
    )
    SQLAlchemyInstrumentor().instrument(skip_dep_check=True)
    RedisInstrumentor().instrument()
    CeleryInstrumentor().instrument()
    if peer in FLOORS:
        gc.freeze()  # as ours does: what full collections take is not what (h) stands on


def instrument_app(peer: str, app) -> None:
    """Do what logfire wants done to the application itself."""
    if peer == "g":
        import logfire

        logfire.instrument_fastapi(app)


def _nothing(*_: object):
    return lambda: None


def _otel(*_: object):
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())  # its sampler comes from the environment
    return lambda: None


def _otel_and_errors(_rate: float, dsn: str, _otlp: str):
    import sentry_sdk

    sentry_sdk.init(dsn)
    return _otel()


def _otel_errors_and_posts(rate: float, dsn: str, otlp: str):
    from floor import Poster

    return _with_processor(Poster, rate, dsn, otlp)


def _otel_errors_and_writes(rate: float, dsn: str, otlp: str):
    from floor import Writer

    return _with_processor(Writer, rate, dsn, otlp)


def _with_processor(processor, rate: float, dsn: str, otlp: str):
    from opentelemetry import trace

    _otel_and_errors(rate, dsn, otlp)
    provider = trace.get_tracer_provider()
    provider.add_span_processor(processor(dsn))
    return provider.force_flush


def _otel_otlp(_rate: float, _dsn: str, otlp: str):
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{otlp}/v1/traces")))
    trace.set_tracer_provider(provider)
    return provider.force_flush


def _native(rate: float, dsn: str, _otlp: str):
    import sentry_sdk

    sentry_sdk.init(dsn, traces_sample_rate=rate, transport_queue_size=_QUEUE)
    return lambda: sentry_sdk.flush(60)


def _span_processor(rate: float, dsn: str, _otlp: str):
    import sentry_sdk
    from opentelemetry import propagate, trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    from sentry_sdk.integrations.opentelemetry import SentryPropagator, SentrySpanProcessor

    sentry_sdk.init(dsn, traces_sample_rate=rate, instrumenter="otel", transport_queue_size=_QUEUE)
    provider = TracerProvider(sampler=ALWAYS_ON)  # sentry-sdk decides
    provider.add_span_processor(SentrySpanProcessor())
    trace.set_tracer_provider(provider)
    propagate.set_global_textmap(SentryPropagator())
    return lambda: sentry_sdk.flush(60)


def _otlp_integration(_rate: float, dsn: str, _otlp: str):
    import sentry_sdk
    from opentelemetry import trace
    from sentry_sdk.integrations.otlp import OTLPIntegration

    sentry_sdk.init(dsn, integrations=[OTLPIntegration()])
    return trace.get_tracer_provider().force_flush


def _logfire(rate: float, _dsn: str, otlp: str):
    import logfire

    server, _, project = otlp.partition("/api/")
    logfire.configure(
        token=f"project-{project}",
        send_to_logfire=True,
        console=False,
        metrics=False,
        inspect_arguments=False,
        sampling=logfire.SamplingOptions(head=rate),
        advanced=logfire.AdvancedOptions(base_url=server),
    )
    return logfire.force_flush


def _ours(*_: object):
    from opentelemetry import trace

    from otel_sentry import pipeline
    from otel_sentry.settings import Settings

    pipeline.configure(Settings.from_env(os.environ))
    return trace.get_tracer_provider().force_flush


def _without_brotli() -> None:
    """Hide brotli, which the tests need: sentry-sdk uses it, but does not bring it along."""
    import sys

    sys.modules["brotli"] = None  # type: ignore[assignment]


_SET_UP = {
    "a": _nothing,
    "b": _otel,
    "c": _otel_otlp,
    "d": _native,
    "e": _span_processor,
    "f": _otlp_integration,
    "g": _logfire,
    "h": _ours,
    "i": _ours,
    "j": _otel_and_errors,
    "k": _otel_errors_and_posts,
    "l": _otel_errors_and_writes,
}
