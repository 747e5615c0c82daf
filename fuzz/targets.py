"""
What reads bytes that someone else has written: one function each, which must never raise.

``fuzz/run.py`` feeds them with atheris, ``tests/faults/test_fuzz.py`` with hypothesis in CI.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from otel_sentry.cli.tail._decompress import decompress
from otel_sentry.cli.tail._envelope import parse_envelope
from otel_sentry.cli.tail._items import Refused
from otel_sentry.cli.tail._otlp import parse_traces
from otel_sentry.propagation import SentryPropagator
from otel_sentry.sampling.rules import parse_rules
from otel_sentry.scrubbing import Scrubber
from otel_sentry.semantics import extra_data, infer
from otel_sentry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

HEADERS = ("sentry-trace", "traceparent", "tracestate", "baggage")
VARIABLES = (
    "SENTRY_DSN",
    "SENTRY_TRACES_SAMPLE_RATE",
    "OTEL_TRACES_EXPORTER",
    "OTEL_SENTRY_SAMPLING_RULES",
    "OTEL_SENTRY_MAX_SPANS",
    "OTEL_SENTRY_SCRUB_KEYS",
    "OTEL_RESOURCE_ATTRIBUTES",
)
_LIMIT = 1 << 20

_settings = Settings.from_env({"SENTRY_DSN": "https://public@o1.ingest.sentry.io/1"})
_propagator = SentryPropagator(_settings)
_scrubber = Scrubber()


def _texts(data: bytes, names: tuple[str, ...]) -> dict[str, str]:
    """Share the bytes out: one line for each name."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return dict(zip(names, lines, strict=False))


def headers(data: bytes) -> None:
    """A request's trace headers: read, then written again."""
    context = _propagator.extract(_texts(data, HEADERS), Context())
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    for value in carrier.values():
        assert "\r" not in value, value
        assert "\n" not in value, value


def envelope(data: bytes) -> None:
    """What reaches ``otel-sentry tail`` as an envelope, plain or compressed."""
    for encoding in ("", "gzip", "deflate"):
        with contextlib.suppress(Refused):
            parse_envelope(decompress(data, encoding, _LIMIT), "/api/1/envelope/")


def otlp(data: bytes) -> None:
    """What reaches ``otel-sentry tail`` as OTLP."""
    for content_type in ("application/json", "application/x-protobuf"):
        with contextlib.suppress(Refused):
            parse_traces(data, content_type, "/v1/traces")


def settings(data: bytes) -> None:
    """The environment."""
    read = Settings.from_env(_texts(data, VARIABLES))
    assert 0 <= read.traces_sample_rate <= 1
    assert read.connections >= 1
    parse_rules(read.sampling_rules)
    read.describe()


def scrubber(data: bytes) -> None:
    """Text and structures of an event; what was scrubbed once stays as it is."""
    text = data.decode("utf-8", "replace")
    once = _scrubber.text(text)
    assert _scrubber.text(once) == once
    _scrubber.statement(text)
    _scrubber.attributes({text[:20]: text, "http.url": text, "db.statement": text})
    _scrubber.event({"message": text, "extra": _json(data)})


def semantics(data: bytes) -> None:
    """Attributes that an instrumentation, or the application, put on a span."""
    attributes = _json(data)
    if isinstance(attributes, dict):
        for kind in SpanKind:
            infer(str(attributes.get("name", "")), kind, attributes)
            extra_data(kind, attributes)


def _json(data: bytes) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(data)
    return None


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (headers, envelope, otlp, settings, scrubber, semantics)
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "headers": (
        b"%s-%s-1\n00-%s-%s-01\not=th:8;rv:%s\nsentry-trace_id=%s,sentry-sample_rate=0.5,a=b"
        % (b"a" * 32, b"b" * 16, b"a" * 32, b"b" * 16, b"c" * 14, b"a" * 32),
    ),
    "envelope": (b'{"event_id":"%s"}\n{"type":"event","length":2}\n{}\n' % (b"a" * 32),),
    "otlp": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a","traceId":"aa"}]}]}]}',),
    "settings": (b"https://a@b/1\n0.5\nsentry,otlp\nGET /health=0\n1000\nssn\na=b",),
    "scrubber": (
        b"password=1 Bearer abc.def https://a:b@c/?token=d 4111 1111 1111 1111 a@b.example",
    ),
    "semantics": (b'{"http.request.method":"GET","url.path":"/a","db.system":"redis"}',),
}
