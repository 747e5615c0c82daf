"""How each kind of neighbour in Python is set up, as its own documentation says."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# One trace in a million goes the other way: a rate, not a constant, so that it stands in headers.
MOST, FEW = 0.999999, 0.000001
HEADS = frozenset({"keep", "drop", "open"})
"""The cases in which no trace arrives."""


def _native() -> None:
    import sentry_sdk

    # No traces_sampler: with one, sentry-sdk writes what it returns over the rate that came.
    sentry_sdk.init(traces_sample_rate=MOST)


def _native_drop() -> None:
    import sentry_sdk

    sentry_sdk.init(traces_sample_rate=FEW)


def _errors_only() -> None:
    import sentry_sdk

    sentry_sdk.init()


def _provider() -> Any:
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
    from opentelemetry.trace import set_tracer_provider

    class ByPath(Sampler):
        def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, **_):
            dropped = str((attributes or {}).get("http.target", "")).startswith("/drop")
            sampler = TraceIdRatioBased(FEW if dropped else MOST)
            return sampler.should_sample(parent_context, trace_id, name, kind, attributes)

        def get_description(self) -> str:
            return "ByPath"

    provider = TracerProvider(sampler=ParentBased(ByPath()))
    set_tracer_provider(provider)
    for instrumentor in (FastAPIInstrumentor, HTTPXClientInstrumentor, CeleryInstrumentor):
        instrumentor().instrument()
    return provider


def _otlp_integration() -> None:
    import sentry_sdk
    from sentry_sdk.integrations.otlp import OTLPIntegration

    _provider()
    sentry_sdk.init(integrations=[OTLPIntegration()])


def _plain() -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The global propagator is OpenTelemetry's default: tracecontext, baggage.
    _provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


START = {
    "bridge": lambda: None,  # the launcher has done it
    "native": _native,
    "native-drop": _native_drop,
    "errors-only": _errors_only,
    "otlp-integration": _otlp_integration,
    "opentelemetry": _plain,
}


@contextlib.contextmanager
def head(kind: str, case: str) -> Iterator[dict[str, str]]:
    """Where a trace starts, set an entry of baggage as such applications do; yield headers."""
    if case not in HEADS:
        yield {}
        return
    if kind in {
        "native",
        "native-drop",
        "errors-only",
    }:  # sentry-sdk has no API for it, and adds its own
        yield {"baggage": "user=alice"}
        return
    from opentelemetry import baggage, context

    # Outside every request, this bridge has decided nothing yet.
    outer = context.Context() if case == "open" else context.get_current()
    token = context.attach(baggage.set_baggage("user", "alice", outer))
    yield {}
    context.detach(token)


def flush(kind: str) -> None:
    """Send what is left: uvicorn ends without Python's exit handlers."""
    if kind == "bridge":
        return  # it has to manage by itself
    if "SENTRY_DSN" in os.environ:
        import sentry_sdk

        sentry_sdk.flush()
    from opentelemetry.trace import get_tracer_provider

    getattr(get_tracer_provider(), "force_flush", lambda: None)()
