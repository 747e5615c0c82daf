from __future__ import annotations

import json
import time
from concurrent import futures

import pytest
import sentry_sdk
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from sentry_conventions.attributes import ATTRIBUTE_METADATA

from otel_sentry import backends
from otel_sentry.backends._annotate import Annotator, sample_rate
from otel_sentry.backends._encode import Encoder
from otel_sentry.backends.sentry_otlp import rate_limit
from otel_sentry.cli.tail.receiver import Receiver, Response
from otel_sentry.dsn import otlp_endpoint
from otel_sentry.sampling import SentrySampler

SECRET = "Zq9xSekrit7Wv"
STATEMENT = "SELECT id FROM items"


def make_provider(*processors, sampler=None):
    provider = TracerProvider(
        sampler=sampler or SentrySampler(0.999999),
        resource=Resource({"service.name": "shop", "secret": SECRET}),
        shutdown_on_exit=False,
    )
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def make_traces(provider, traces=5):
    """Make traces with spans of several libraries, some alike, some not."""
    http = provider.get_tracer("opentelemetry.instrumentation.fastapi", "1.0")
    sql = provider.get_tracer("opentelemetry.instrumentation.sqlalchemy")
    for number in range(traces):
        with http.start_as_current_span("GET /items/{id}", kind=SpanKind.SERVER) as root:
            root.set_attributes({"http.method": "GET", "http.route": "/items/{id}"})
            root.set_attributes({"http.status_code": 404, "client.port": number})
            for _ in range(3):
                with sql.start_as_current_span("SELECT shop", kind=SpanKind.CLIENT) as span:
                    span.set_attributes(
                        {"db.system": "sqlite", "db.statement": "SELECT id FROM items"}
                    )
            with sql.start_as_current_span("connect", kind=SpanKind.CLIENT):
                pass  # noise
            with http.start_as_current_span("work") as span:
                span.set_attribute("tags", ["a", "b"])
                span.set_attribute("password", SECRET)
                span.add_event("event", {"token": SECRET, "n": number})
                span.set_status(Status(StatusCode.ERROR, f"password={SECRET}"))


def finished(make):
    exporter = InMemorySpanExporter()
    provider = make_provider(SimpleSpanProcessor(exporter))
    make(provider)
    return list(exporter.get_finished_spans())


def flat(request):
    """Return each span of a request with its resource and scope, by id, as text."""
    return {
        span.span_id: (str(resource.resource), str(scope.scope), str(span))
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def test_copies_are_what_opentelemetry_encodes(make_bridge):
    """Spans that are encoded from memory are, bit for bit, what OpenTelemetry's encoder makes."""
    spans = finished(make_traces)
    bridge = make_bridge(SENTRY_RELEASE="shop@1")
    encode, annotate = Encoder(Annotator(bridge)), Annotator(bridge)
    slow = encode_spans([copy for span in spans if (copy := annotate(span)) is not None])

    for _ in range(3):  # the first time nothing is known, the last nearly everything
        encoded = encode(spans)
        assert encoded.failed == 0
        assert len(encoded) == 5 * 5
        assert flat(encoded.request) == flat(slow)
    (resource,) = encoded.request.resource_spans
    assert len(resource.scope_spans) == 2
    assert SECRET.encode() not in encoded.request.SerializeToString()
    assert len(encode._known) == 1


def durations(request):
    """Return the durations of a request's spans, in nanoseconds."""
    return [
        span.end_time_unix_nano - span.start_time_unix_nano
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_a_clock_that_was_set_back(make_bridge):
    """A span never ends before it starts, whether it is encoded from memory or not."""

    def make(provider):
        tracer = provider.get_tracer("t")
        with tracer.start_as_current_span("root"):
            for _ in range(4):
                tracer.start_span("back", start_time=10**18 + 5).end(10**18)

    spans = finished(make)
    encode = Encoder(Annotator(make_bridge()))

    encoded = encode(spans)

    assert len(encode._known) == 1
    assert durations(encoded.request)[:4] == [0, 0, 0, 0]


def test_what_is_inside_noise(make_bridge):
    """A query that SQLAlchemy makes while it connects has the request as its parent."""

    def make(provider):
        sql = provider.get_tracer("opentelemetry.instrumentation.sqlalchemy")
        with provider.get_tracer("t").start_as_current_span("root", kind=SpanKind.SERVER):
            for _ in range(4):
                with sql.start_as_current_span("connect", kind=SpanKind.CLIENT):
                    sql.start_span("SELECT", kind=SpanKind.CLIENT).end()

    spans = finished(make)
    root = spans[-1].context.span_id.to_bytes(8, "big")
    encoded = Encoder(Annotator(make_bridge()))(spans)

    assert (len(encoded), encoded.failed) == (5, 0)
    assert [
        span.parent_span_id
        for resource in encoded.request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.name == "SELECT"
    ] == [root] * 4


def test_odd_spans(make_bridge):
    """A name or a kind that is none is no reason to lose a span."""

    def make(provider):
        tracer = provider.get_tracer("t")
        with tracer.start_as_current_span("root", kind=None) as root:
            root.add_event(5)
            tracer.start_span(123).end()

    encoded = Encoder(Annotator(make_bridge()))(finished(make))

    assert (len(encoded), encoded.failed) == (2, 0)


def test_one_bad_span_stops_no_other(make_bridge, caplog):
    """A span that cannot be encoded is left out and counted; the batch goes."""

    def make(provider):
        make_traces(provider, 1)
        provider.get_tracer("t").start_span("bad").end()

    spans = finished(make)
    spans[-1]._status = None

    encoded = Encoder(Annotator(make_bridge()))(spans)

    assert (len(encoded), encoded.failed) == (5, 1)
    assert "encoding a span" in caplog.text


def run(monkeypatch, make_bridge, name="otlp", make=make_traces, sampler=None, **environ):
    """Return what a receiver got from a backend."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        bridge = make_bridge(SENTRY_DSN=f"{receiver.dsn}23", **environ)
        provider = make_provider(backends.build(name, bridge), sampler=sampler)
        make(provider)
        assert provider.force_flush(60_000)  # the end alone gives it two seconds
        provider.shutdown()
        return receiver


def test_annotations(monkeypatch, make_bridge):
    """Spans bear Sentry's names, op, status, release, environment and rate."""
    receiver = run(monkeypatch, make_bridge, SENTRY_RELEASE="shop@1", SENTRY_ENVIRONMENT="staging")
    root = next(span for span in receiver.spans() if span["kind"] == "SERVER")
    child = next(span for span in receiver.spans() if span["kind"] == "CLIENT")

    expected = {
        "sentry.op": "http.server",
        "sentry.segment.name": "GET /items/{id}",
        "sentry.segment.name.source": "route",
        "sentry.status": "not_found",
        "sentry.origin": "auto.otel.fastapi",
        "sentry.release": "shop@1",
        "sentry.environment": "staging",
        "sentry.client_sample_rate": 0.999999,
        "http.response.status_code": 404,
    }
    assert {key: root["attributes"].get(key) for key in expected} == expected
    assert child["attributes"]["sentry.op"] == "db"
    assert child["attributes"]["sentry.description"] == "SELECT id FROM items"
    assert "sentry.segment.name" not in child["attributes"]


def test_annotations_are_those_of_the_client(make_bridge):
    """Spans name the release and environment of the errors beside them, from memory, too."""
    encode = Encoder(Annotator(make_bridge(SENTRY_RELEASE="shop@1")))
    spans = finished(make_traces)

    def told():
        found = [flat(encode(spans).request).values() for _ in range(3)]
        return {
            name
            for span in (text for request in found for *_, text in request)
            for name in ("shop@1", "production", "app@2", "staging")
            if f'string_value: "{name}"' in span
        }

    assert told() == {"shop@1", "production"}
    with sentry_sdk.new_scope() as scope:
        dsn = "https://own@o18.ingest.sentry.io/7"
        scope.set_client(sentry_sdk.Client(dsn=dsn, release="app@2", environment="staging"))
        assert told() == {"app@2", "staging"}
    assert told() == {"shop@1", "production"}


@pytest.mark.parametrize(
    ("th", "rate"),
    [("8", 0.5), ("0", 1.0), ("f" * 20, None), ("-1", None), ("c_0", None), ("zz", None)],
)
def test_the_rate_of_a_threshold(th, rate):
    """Of a trace of another service a well-formed threshold tells the rate, and nothing else."""
    state = TraceState([("ot", f"th:{th}")])
    context = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    assert sample_rate(context) == rate


def test_annotations_are_names_of_today(monkeypatch, make_bridge):
    """What is sent as sentry.* stands in Sentry's conventions, and is not deprecated."""
    receiver = run(monkeypatch, make_bridge, SENTRY_RELEASE="shop@1")
    sent = {key for span in receiver.spans() for key in span["attributes"]}
    ours = {key for key in sent if key.startswith("sentry.")}

    assert len(ours) >= 9
    for key in ours:
        assert key in ATTRIBUTE_METADATA, key
        assert ATTRIBUTE_METADATA[key].deprecation is None, key


class RecordOnly(Sampler):
    """Records, and does not sample: what sentry does for kept errors."""

    def should_sample(self, *_, **__):
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self):
        return "RecordOnly"


def test_what_is_only_recorded_stays(monkeypatch, make_bridge):
    """A span that was recorded but not sampled never leaves by OTLP."""
    receiver = run(monkeypatch, make_bridge, sampler=RecordOnly())

    assert receiver.requests == []


def test_noise_stays(monkeypatch, make_bridge):
    """Plumbing does not leave by OTLP, unless it is asked for."""
    names = {span["name"] for span in run(monkeypatch, make_bridge).spans()}
    assert names == {"GET /items/{id}", "SELECT shop", "work"}

    asked = run(monkeypatch, make_bridge, OTEL_SENTRY_INFRASTRUCTURE_SPANS="true")
    assert "connect" in {span["name"] for span in asked.spans()}


@pytest.mark.parametrize(
    ("dsn", "endpoint"),
    [
        ("https://k@o1.ingest.sentry.io/42", "https://o1.ingest.sentry.io/api/42"),
        ("http://k@sentry.example:9000/a/b/7", "http://sentry.example:9000/a/b/api/7"),
        ("http://k:old@[::1]:9000/7", "http://[::1]:9000/api/7"),
    ],
)
def test_sentrys_endpoint(dsn, endpoint):
    """The endpoint and the header's value come from the DSN."""
    assert otlp_endpoint(dsn) == (
        f"{endpoint}/integration/otlp/v1/traces/",
        "sentry sentry_key=k",
    )


def test_sentry_otlp(monkeypatch, make_bridge, caplog):
    """Spans reach the project's endpoint with its key, and with nothing that is a Collector's."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{SECRET}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")
    receiver = run(monkeypatch, make_bridge, "sentry_otlp", lambda p: make_traces(p, 300))

    assert {request.path for request in receiver.requests} == {
        "/api/123/integration/otlp/v1/traces/"
    }
    for request in receiver.requests:
        assert request.headers["x-sentry-auth"] == "sentry sentry_key=public"
        assert "authorization" not in request.headers
        assert len(request.items) <= 1000
    assert len(receiver.spans()) == 1500
    assert caplog.records == []  # 202 is success


@pytest.mark.parametrize("name", ["otlp", "sentry_otlp"])
def test_retry_after_is_honoured(monkeypatch, make_bridge, name):
    """After 429 nothing is sent until the time the far end asked for is over; nothing is lost."""
    times: list[float] = []

    def respond(request):
        times.append(time.monotonic())
        return Response(429, {"Retry-After": "1"}) if len(times) == 1 else None

    with Receiver(respond=respond) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        provider = make_provider(backends.build(name, make_bridge(SENTRY_DSN=receiver.dsn)))
        make_traces(provider)
        assert provider.force_flush(10_000)
        provider.shutdown()

        assert len(times) == 2
        assert times[1] - times[0] >= 0.99


def test_retry_after_does_not_hold_the_end(monkeypatch, make_bridge, caplog):
    """A far end that asks for ten minutes holds the process for two seconds, and it is said."""
    with Receiver(respond=lambda _: Response(429, {"Retry-After": "600"})) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        provider = make_provider(backends.build("otlp", make_bridge()))
        make_traces(provider)
        started = time.monotonic()
        provider.shutdown()

        assert time.monotonic() - started < 3
        assert f"30 spans did not reach {receiver.url} and are lost" in caplog.text


def test_nobody_listens_at_first(monkeypatch, make_bridge, caplog):
    """Spans of the time before the Collector listens arrive once it does."""
    with Receiver() as receiver:
        port = receiver.port
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    provider = make_provider(backends.build("otlp", make_bridge()))
    make_traces(provider)
    assert not provider.force_flush(300)
    with Receiver(port) as receiver:
        assert provider.force_flush(20_000)
        provider.shutdown()

        assert len(receiver.spans()) == 25
    assert len([r for r in caplog.records if "Transient" in r.getMessage()]) <= 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("60:error:organization", None),
        ("60:transaction;span:key, 10:error", 60.0),
        ("7::organization", 7.0),
        ("x:span", None),
        ("10:span,20:span", 20.0),
    ],
)
def test_rate_limits(header, seconds):
    """Of Sentry's rate limits those of spans count, and those of everything."""
    assert rate_limit(header) == seconds


def test_grpc(monkeypatch, make_bridge):
    """With the extra, spans leave by gRPC, annotated and scrubbed."""
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

    requests = []

    class Collector(service.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802
            requests.append(request)
            return messages.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    service.add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    provider = make_provider(backends.build("otlp", make_bridge()))
    make_traces(provider)
    assert provider.force_flush(10_000)
    provider.shutdown()
    server.stop(None).wait()

    spans = [span for request in requests for span in flat(request).values()]
    assert len(spans) == 25
    text = json.dumps(spans)
    assert "http.server" in text
    assert SECRET not in text
