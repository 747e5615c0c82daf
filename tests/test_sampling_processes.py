"""Sampling and propagation in whole processes: what leaves them, by envelope and by header."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
import sentry_sdk

from otel_sentry.cli.tail.receiver import Receiver

BRIDGE = """
import json, os
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from otel_sentry import pipeline
from otel_sentry.options import Options
from otel_sentry.settings import Settings
settings = Settings.from_env(os.environ)
options = Options()
pipeline.configure(settings, options)
tracer = trace.get_tracer("t")
"""

FAILING_REQUESTS = """
import sentry_sdk
for number in range(40):
    try:
        with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER):
            with tracer.start_as_current_span("child"):
                pass
            try:
                raise ValueError(number)
            except ValueError:
                sentry_sdk.capture_exception()
            if number % 4 == 0:
                raise KeyError(number)
    except KeyError:
        pass
trace.get_tracer_provider().force_flush()
"""


def run(code: str, **environ: str) -> str:
    """Run code in an interpreter of its own and return what it prints."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("OTEL_", "SENTRY_", "PYTEST_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def lost(receiver: Receiver) -> Counter:
    """Return what the client reports count, by reason and category."""
    found: Counter = Counter()
    for item in receiver.items:
        if item.kind == "client_report":
            for one in item.fields["discarded_events"]:
                found[one["reason"], one["category"]] += one["quantity"]
    return found


@pytest.mark.parametrize(
    ("traces", "errors", "arrived"), [("0", "1", (0, 40)), ("1", "0", (40, 0))]
)
def test_traces_and_errors_are_sampled_apart(traces, errors, arrived):
    """The trace rate leaves every error alone, and each transaction left out is counted once."""
    with Receiver() as receiver:
        run(
            BRIDGE + FAILING_REQUESTS,
            SENTRY_DSN=receiver.dsn,
            SENTRY_TRACES_SAMPLE_RATE=traces,
            SENTRY_SAMPLE_RATE=errors,
        )
        assert (len(receiver.transactions()), len(receiver.errors())) == arrived
        counted = lost(receiver)
    left_out = 40 if traces == "0" else 0
    assert counted["sample_rate", "transaction"] == left_out
    assert counted["sample_rate", "span"] == left_out
    assert counted["sample_rate", "error"] == 40 - arrived[1]


def test_keeping_errors():
    """Failed segments are sent at a rate of 0, weigh one each, and reach no other backend."""
    with Receiver() as receiver:
        run(
            BRIDGE + FAILING_REQUESTS,
            SENTRY_DSN=receiver.dsn,
            SENTRY_TRACES_SAMPLE_RATE="0",
            OTEL_SENTRY_KEEP_ERRORS="true",
            OTEL_TRACES_EXPORTER="sentry,otlp",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        )
        transactions = [item for item in receiver.items if item.kind == "transaction"]
        assert len(transactions) == 10
        for item in transactions:
            sent = item.envelope_headers["trace"]
            assert (sent["sample_rate"], sent["sampled"]) == ("1", "true")
            assert float(sent["sample_rand"]) < 1
        of_errors = [i.envelope_headers["trace"] for i in receiver.items if i.kind == "error"]
        assert {one["sample_rate"] for one in of_errors} == {"0"}
        assert len(of_errors) == 40
        assert receiver.spans() == []
        assert lost(receiver)["sample_rate", "transaction"] == 30


def test_the_numbers_agree_in_every_envelope():
    """`sample_rand < sample_rate` in the header of each transaction; the rest is counted."""
    with Receiver() as receiver:
        run(BRIDGE + FAILING_REQUESTS, SENTRY_DSN=receiver.dsn, SENTRY_TRACES_SAMPLE_RATE="0.3")
        sent = [i.envelope_headers["trace"] for i in receiver.items if i.kind == "transaction"]
        for one in sent:
            assert float(one["sample_rand"]) < float(one["sample_rate"]) == 0.3
            assert one["sampled"] == "true"
        assert len(sent) + lost(receiver)["sample_rate", "transaction"] == 40


@pytest.mark.parametrize("argument", ["", "0.25"])
def test_under_another_distribution(argument):
    """OTEL_TRACES_SAMPLER=sentry works with the configurator of OpenTelemetry's own SDK."""
    printed = run(
        "from opentelemetry.sdk._configuration import _OTelSDKConfigurator\n"
        "from opentelemetry import trace\n"
        "_OTelSDKConfigurator().configure()\n"
        "provider = trace.get_tracer_provider()\n"
        "span = provider.get_tracer('t').start_span('GET')\n"
        "state = span.get_span_context().trace_state\n"
        "print(provider.sampler.get_description(), state.sample_rate)",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_TRACES_SAMPLER="sentry",
        OTEL_TRACES_SAMPLER_ARG=argument,
        SENTRY_TRACES_SAMPLE_RATE="0.75",
    )
    rate = argument or "0.75"
    assert printed == f"SentrySampler{{rate={rate},rules=0}} {rate}"


# --- other writers of headers ------------------------------------------------------------------

ECHO = """
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        names = ("sentry-trace", "traceparent", "tracestate", "baggage")
        body = json.dumps({name: self.headers.get_all(name, []) for name in names}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 0), Echo)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
"""

REQUESTS = """
import httpx, requests
from urllib.request import urlopen
def ask():
    print(httpx.get(url).text)
    print(requests.get(url).text)
    print(urlopen(url).read().decode())
with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER) as root:
    print(format(root.get_span_context().trace_id, "032x"))
    ask()
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    HTTPXClientInstrumentor().instrument()
    RequestsInstrumentor().instrument()
    ask()
"""


@pytest.mark.parametrize("rate", ["1", "0"])
def test_one_set_of_headers(rate):
    """Where OpenTelemetry instruments a client there is one set of headers, else none at all."""
    # sentry-sdk has integrations for all three. Nobody listens there: nothing needs to arrive.
    environ = {"SENTRY_DSN": "http://key@127.0.0.1:9/1", "SENTRY_TRACES_SAMPLE_RATE": rate}
    trace, *seen = run(BRIDGE + ECHO + REQUESTS, **environ).splitlines()
    *plain, by_httpx, by_requests, by_urllib = map(json.loads, seen)
    nothing = {"sentry-trace": [], "traceparent": [], "tracestate": [], "baggage": []}
    assert [*plain, by_urllib] == [nothing] * 4
    for lines in (by_httpx, by_requests):
        assert [len(lines[n]) for n in ("sentry-trace", "traceparent", "baggage")] == [1, 1, 1]
        assert lines["sentry-trace"][0].startswith(trace)
        assert lines["sentry-trace"][0].endswith(f"-{rate}")
        assert lines["traceparent"][0][3:52] == lines["sentry-trace"][0][:49]
        assert f"sentry-trace_id={trace}" in lines["baggage"][0]


CELERY = """
from celery import Celery
from celery.signals import before_task_publish
app = Celery("app", broker="memory://", backend="cache+memory://")
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from otel_sentry.instrumentation import instrumented
CeleryInstrumentor().instrument()
instrumented("celery", settings)
before_task_publish.connect(lambda headers=None, **_: print(json.dumps(headers)), weak=False)

@app.task
def job():
    pass

stale = {"sentry-trace": "stale", "baggage": "stale", "mine": "kept"}
with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER) as root:
    job.apply_async(headers={"headers": dict(stale)})
    job.apply_async()
    print(format(root.get_span_context().trace_id, "032x"))
"""


@pytest.mark.parametrize("rate", ["1", "0"])
def test_celery_messages(rate):
    """A message has one set of headers, also where a Sentry-native worker looks for it."""
    environ = {"SENTRY_DSN": "http://key@127.0.0.1:9/1", "SENTRY_TRACES_SAMPLE_RATE": rate}
    first, second, trace = run(BRIDGE + CELERY, **environ).splitlines()
    for message in (json.loads(first), json.loads(second)):
        nested = message["headers"]
        for name in ("sentry-trace", "traceparent", "baggage"):
            assert nested[name] == message[name]
        assert message["sentry-trace"].startswith(trace)
        assert message["sentry-trace"].endswith(f"-{rate}")
        native = sentry_sdk.continue_trace(nested)
        assert (native.trace_id, native.parent_sampled) == (trace, rate == "1")
        assert native.get_baggage().sentry_items["trace_id"] == trace
    assert json.loads(first)["headers"]["mine"] == "kept"


FASTAPI = """
import asyncio
import fastapi, httpx
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from otel_sentry.instrumentation import instrumented, options_for
FastAPIInstrumentor().instrument(**options_for("fastapi"))
instrumented("fastapi", settings)
app = fastapi.FastAPI()

@app.get("/items/{item_id}")
def read(item_id: int):
    return item_id

def sampler(context):
    scope = context["asgi_scope"]
    name = context["transaction_context"]["name"]
    print(json.dumps([scope["path"], dict(scope["headers"])[b"x-plan"].decode(), name]))
    return 0

async def main():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        for plan in ("free", "paid"):
            await client.get("/items/3", headers={"x-plan": plan})

options.traces_sampler = sampler
asyncio.run(main())
trace.get_tracer_provider().force_flush()
"""


def test_the_callback_sees_the_request():
    """Under FastAPI the callback gets the ASGI scope, headers included, and the route's name."""
    with Receiver() as receiver:
        environ = {"SENTRY_DSN": receiver.dsn, "SENTRY_TRACES_SAMPLE_RATE": "1"}
        printed = run(BRIDGE + FASTAPI, **environ).splitlines()
        assert receiver.transactions() == []
        assert lost(receiver)["sample_rate", "transaction"] == 2
    name = "GET /items/{item_id}"
    assert [json.loads(line) for line in printed] == [
        ["/items/3", "free", name],
        ["/items/3", "paid", name],
    ]
