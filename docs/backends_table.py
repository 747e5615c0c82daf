"""Send one rich trace through each backend and tell what of it arrives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from otel_sentry.cli.tail.receiver import Receiver

LAUNCHER = Path(sys.executable).with_name("opentelemetry-instrument")
BACKENDS = ("sentry", "otlp", "sentry_otlp", "sentry_sdk", "console")

# Each row: what it is, and what must stand in what arrives.
ROWS = (
    ("Sentry's op", ('"http.server"',)),
    ("Sentry's op of a queue or cache", ('"queue.publish"',)),
    ("route as name, with its source", ('"GET /items/{id}"', '"route"')),
    ("status in Sentry's words", ('"not_found"',)),
    ("status message", ("canary-status",)),
    ("attributes", ("canary-attribute",)),
    ("attributes that are lists", ("canary-list",)),
    ("span events", ("canary-event",)),
    ("links to other traces", ("0000000000000000000000000000beef",)),
    ("resource attributes", ("canary-resource",)),
    ("instrumentation scope", ("canary.scope",)),
    ("tags and user of Sentry's scope", ("canary-tag", "canary-user")),
    ("release and environment", ("canary-release", "canary-environment")),
    ("sample rate, to extrapolate by", ("0.999999",)),
    ("tracestate of other vendors", ("canary-vendor",)),
)
ABSENT = (
    ("secrets are removed", ("canary-secret",)),
    ("plumbing is left out", ("canary-noise",)),
)

SCRIPT = """
import sentry_sdk
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
tracer = trace.get_tracer("canary.scope")
remote = {"traceparent": f"00-{10:032x}-{11:016x}-01", "tracestate": "canary=canary-vendor"}
def make(**more):
    link = Link(SpanContext(0xbeef, 1, is_remote=True))
    with tracer.start_as_current_span("GET", kind=SpanKind.SERVER, links=[link], **more) as span:
        sentry_sdk.set_tag("tag", "canary-tag")
        sentry_sdk.set_user({"id": "canary-user"})
        span.set_attributes({"http.method": "GET", "http.route": "/items/{id}"})
        span.set_attributes({"http.status_code": 404, "custom": "canary-attribute"})
        span.set_attributes({"list": ["canary-list"], "password": "canary-secret"})
        span.add_event("canary-event")
        with tracer.start_as_current_span("publish", kind=SpanKind.PRODUCER) as child:
            child.set_attributes({"messaging.system": "redis"})
            child.set_status(Status(StatusCode.ERROR, "canary-status"))
        with tracer.start_as_current_span("canary-noise") as noise:
            noise.set_attribute("asgi.event.type", "http.request")
make()
make(context=propagate.extract(remote))
"""


def run(backend: str) -> str:
    """Return everything that arrives from a backend, as text."""
    with Receiver() as receiver:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "SENTRY_"))}
        done = subprocess.run(  # noqa: S603 - the launcher and our own script
            [LAUNCHER, sys.executable, "-c", SCRIPT],
            env={
                **clean,
                "SENTRY_DSN": receiver.dsn,
                "SENTRY_TRACES_SAMPLE_RATE": "0.999999",
                "SENTRY_RELEASE": "canary-release",
                "SENTRY_ENVIRONMENT": "canary-environment",
                "OTEL_RESOURCE_ATTRIBUTES": "custom=canary-resource",
                "OTEL_TRACES_EXPORTER": backend,
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            },
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if backend == "console":
            return done.stderr
        items = [(i.envelope_headers, i.fields) for i in receiver.items if i.kind != "session"]
        return json.dumps(items)


def table() -> str:
    """Return the table of what each backend keeps."""
    arrived = {backend: run(backend) for backend in BACKENDS}
    lines = [f"| | {' | '.join(f'`{name}`' for name in BACKENDS)} |", "|---|" + ":-:|" * 5]
    for rows, present in ((ROWS, True), (ABSENT, False)):
        for label, canaries in rows:
            cells = [
                "yes" if all((c in text) is present for c in canaries) else "no"
                for text in arrived.values()
            ]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table())
