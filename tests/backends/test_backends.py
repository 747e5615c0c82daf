from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import sentry_sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from sentry_sdk.transport import Transport

from otel_sentry import backends
from otel_sentry.backends import Bridge, sentry_otlp
from otel_sentry.backends._noise import NoiseFilter
from otel_sentry.backends._scopes import ScrubbedScopes
from otel_sentry.backends._scrubbed import ScrubbingExporter
from otel_sentry.backends.sentry import SentrySpanExporter
from otel_sentry.capture import count_lost
from otel_sentry.cli.tail.receiver import Receiver
from otel_sentry.options import Options
from otel_sentry.propagation import SentryPropagator
from otel_sentry.scrubbing import Scrubber
from otel_sentry.settings import Settings
from tests.forks import forks, in_child

SECRET = "Zq9xSekrit7Wv"
DSN = "http://key@127.0.0.1:9/1"


def make_bridge(**environ):
    """Return what backends are built from, without a Sentry client."""
    settings = Settings.from_env(environ)
    return Bridge(settings, Scrubber(), SentryPropagator(settings), None)


@pytest.mark.parametrize("name", ["sentri", "nonsense"])
def test_an_unknown_backend_is_one_warning(name, caplog):
    """A name that is no backend warns, names the choices, and stops nothing."""
    assert backends.build(name, make_bridge()) is None

    (record,) = caplog.records
    message = record.getMessage()
    assert f"OTEL_TRACES_EXPORTER={name} is ignored" in message
    assert ("Did you mean sentry?" in message) == (name == "sentri")


def test_a_backend_that_cannot_be_built_is_one_warning(monkeypatch, caplog):
    """A fault while a backend is built stops no other."""
    monkeypatch.setattr(backends, "import_module", lambda _: 1 / 0)

    assert backends.build("otlp", make_bridge()) is None
    assert "setting up the backend 'otlp'" in caplog.text


def leaky_span(provider):
    """End a span with a secret in every place that can hold one."""
    tracer = provider.get_tracer(
        "tests", "1.0", f"https://h/?token={SECRET}", {"password": SECRET, "team": "shop"}
    )
    link = Link(SpanContext(1, 2, is_remote=True), {"password": SECRET})
    with tracer.start_as_current_span(f"GET /?token={SECRET}", links=[link]) as span:
        span.set_attribute("http.request.header.authorization", [f"Bearer {SECRET}"])
        span.set_attribute("http.url", f"http://user:{SECRET}@host/?api_key={SECRET}")
        span.set_attribute("db.statement", f"SELECT '{SECRET}'")
        span.add_event("event", {"secret": SECRET})
        span.set_status(Status(StatusCode.ERROR, f"password={SECRET}"))


def test_otlp_is_scrubbed(monkeypatch):
    """What leaves by OTLP holds no secret, wherever in the span it was."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        provider = TracerProvider(
            resource=Resource(
                {"service.name": "shop", "secret": SECRET}, f"https://h/?token={SECRET}"
            ),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(backends.build("otlp", make_bridge()))
        leaky_span(provider)
        provider.shutdown()

        (span,) = receiver.spans()
        assert span["resource"]["service.name"] == "shop"
        assert SECRET.encode() not in b"".join(receiver.bodies)


def test_a_token_in_the_path_goes_from_the_whole_span(monkeypatch):
    """What the route calls a token goes from the span's events and links, too."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(backends, "_registered_exporter", lambda _: lambda: exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(backends.build("theirs", make_bridge()))
    link = Link(SpanContext(1, 2, is_remote=True), {"of": SECRET})
    with provider.get_tracer("tests").start_as_current_span(
        f"GET /reset/{SECRET}",
        kind=SpanKind.SERVER,
        links=[link],
        attributes={"http.route": "/reset/{token}", "url.path": f"/reset/{SECRET}"},
    ) as span:
        span.add_event(f"mailed {SECRET}", {"to": "page"})
        span.record_exception(ValueError(f"no reset {SECRET}"))
        span.set_status(StatusCode.ERROR, f"no reset {SECRET}")
    provider.force_flush()

    (sent,) = exporter.get_finished_spans()
    assert sent.events[1].attributes["exception.message"] == "no reset [Filtered]"
    assert sent.events[0].attributes["to"] == "page"
    assert SECRET not in sent.to_json()
    provider.shutdown()


def test_scopes_are_scrubbed_once():
    """What is remembered of scopes is bounded, and another callback reads them anew."""
    options = Options()
    scopes = ScrubbedScopes(Scrubber(options=options))
    made = [InstrumentationScope(str(n), attributes={"team": "shop"}) for n in range(1100)]
    for scope in made:
        assert scopes(scope) == scope
    assert len(scopes._known) <= 1024
    assert scopes(made[-1]) is scopes(made[-1])
    assert scopes(None) is None
    options.scrub = lambda _path, value, _rule: "mine" if value == "shop" else value
    assert scopes(made[-1]).attributes["team"] == "mine"


def test_the_control_leaks(monkeypatch):
    """Without our exporter around it the same span leaks: the test above can fail."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    with Receiver() as receiver:
        provider = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(receiver.otlp_endpoint)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        leaky_span(provider)
        provider.shutdown()

        assert SECRET.encode() in b"".join(receiver.bodies)


def test_console_is_scrubbed(capfd):
    """The console backend writes scrubbed spans to standard error."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(backends.build("console", make_bridge()))
    leaky_span(provider)
    provider.shutdown()

    out, err = capfd.readouterr()
    assert out == ""
    assert "GET /?token=[Filtered]" in err
    assert SECRET not in err


def test_a_registered_exporter_is_scrubbed_too(monkeypatch):
    """An exporter that another package registers sees scrubbed spans only."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(backends, "_registered_exporter", lambda _: lambda: exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(backends.build("theirs", make_bridge()))
    leaky_span(provider)
    provider.force_flush()

    assert SECRET not in exporter.get_finished_spans()[0].to_json()
    provider.shutdown()


def test_a_span_that_cannot_be_scrubbed_does_not_leave(monkeypatch, caplog):
    """If scrubbing itself fails, nothing is exported and it is said."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    exporter = InMemorySpanExporter()
    broken = ScrubbingExporter(exporter, None)

    assert broken.export([object()]) is SpanExportResult.FAILURE
    assert exporter.get_finished_spans() == ()
    assert "scrubbing spans" in caplog.text


@pytest.mark.parametrize("protocol", ["grpc", "carrier-pigeon"])
def test_a_protocol_that_is_not_there(monkeypatch, caplog, protocol):
    """Another OTLP protocol than those installed warns with the fix, and HTTP is used."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setattr("otel_sentry.sdk_variables.find_spec", lambda _: None)

    processor = backends.build("otlp", make_bridge())

    assert processor is not None
    assert ("pip install 'otel-sentry[grpc]'" in caplog.text) == (protocol == "grpc")
    assert "http/protobuf" in caplog.text
    processor.shutdown()


def test_an_endpoint_without_a_scheme(monkeypatch, caplog):
    """HTTP needs a URL, gRPC none: what is missing is said when the backend is built."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318")

    backends.build("otlp_proto_grpc", make_bridge()).shutdown()
    assert caplog.text == ""
    backends.build("otlp", make_bridge()).shutdown()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=127.0.0.1:4318 does not start with http://" in caplog.text


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("sentry_otlp,sentry_sdk", "sentry_sdk beside sentry_otlp is ignored"),
        ("'sentry'", "no traces are sent"),
        ("Console", "no traces are sent"),
    ],
)
def test_what_is_left_out_is_said(caplog, names, sentence):
    """Two roads to Sentry are one, and no backend at all is said."""
    dsn = "http://public@127.0.0.1:9/1"
    for processor in backends.build_all(make_bridge(SENTRY_DSN=dsn, OTEL_TRACES_EXPORTER=names)):
        processor.shutdown()

    assert caplog.text.count(sentence) == 1


class OwnClient:
    """As much of sentry-sdk's client as the noise filter asks for."""

    def __init__(self, **options) -> None:
        self.options = options


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:9000/api/1/envelope/", True),
        ("http://127.0.0.1:9000/api/2/envelope/", False),
        ("http://127.0.0.1:9001/api/1/envelope/", False),
        ("http://localhost:8969/stream", True),
        ("http://shop.example/api/1/envelope/", False),
    ],
)
@pytest.mark.parametrize("key", ["http.url", "url.full"])
def test_own_traffic_is_told_by_its_url(url, own, key):
    """Requests to the DSN's endpoints and to Spotlight are ours, in either convention."""
    settings = Settings.from_env({"SENTRY_DSN": "http://key@127.0.0.1:9000/1"})
    client = OwnClient(spotlight=True)
    is_noise = NoiseFilter(Bridge(settings, Scrubber(), SentryPropagator(settings), client))
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("t").start_span("POST", kind=SpanKind.CLIENT, attributes={key: url}).end()

    assert is_noise(exporter.get_finished_spans()[0]) is own


OTHER_DISTRIBUTION = """
from opentelemetry.sdk._configuration import _initialize_components
from opentelemetry import trace
_initialize_components()
tracer = trace.get_tracer("tests")
for number in range(3):
    with tracer.start_as_current_span("root", kind=trace.SpanKind.SERVER):
        with tracer.start_as_current_span("child"):
            with tracer.start_as_current_span("inner", kind=trace.SpanKind.CONSUMER):
                pass
trace.get_tracer_provider().shutdown()
"""


def test_the_exporter_under_another_distribution():
    """OTEL_TRACES_EXPORTER=sentry works where another distribution sets up the SDK."""
    with Receiver() as receiver:
        subprocess.run(
            [sys.executable, "-c", OTHER_DISTRIBUTION],
            env={
                "SENTRY_DSN": receiver.dsn,
                "OTEL_TRACES_EXPORTER": "sentry",
                "OTEL_TRACES_SAMPLER": "sentry",
                "SENTRY_TRACES_SAMPLE_RATE": "1",
            },
            check=True,
            timeout=60,
        )

        shapes = [
            (e["transaction"], [s["description"] for s in e["spans"]])
            for e in receiver.transactions()
        ]
        assert sorted(shapes) == [("inner", [])] * 3 + [("root", ["child"])] * 3
        assert json.dumps(receiver.transactions())


class Keeps(Transport):
    """A transport of the application that keeps what it gets."""

    def __init__(self, options):
        super().__init__(options)
        self.sent, self.counted = [], []

    def capture_envelope(self, envelope):
        self.sent.append(envelope)

    def record_lost_event(self, reason, data_category=None, item=None, *, quantity=1):
        self.counted.append((reason, data_category, quantity))


@pytest.fixture
def exporter(monkeypatch):
    """Return the exporter, a tracer whose spans it gets all at once, and where they are sent to."""
    monkeypatch.setenv("SENTRY_DSN", DSN)
    with sentry_sdk.new_scope() as scope:
        client = sentry_sdk.Client(dsn=DSN, transport=Keeps, default_integrations=False)
        scope.set_client(client)
        exporter, kept = SentrySpanExporter(), InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(kept))
        yield exporter, provider.get_tracer("tests"), kept.get_finished_spans, client.transport


def test_a_transaction_that_cannot_be_built(exporter, monkeypatch):
    """It is lost, and counted, alone: the others of its batch are sent."""
    exporter, tracer, finished, transport = exporter
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    options = sentry_sdk.get_client().options
    options["before_send_transaction"] = lambda event, _: (
        {**event, "extra": {"what": object()}} if event["transaction"] == "0" else event
    )
    for name in range(3):
        with tracer.start_as_current_span(str(name)):
            tracer.start_span("child").end()

    assert exporter.export(finished()) is SpanExportResult.SUCCESS
    assert len(transport.sent) == 2
    assert transport.counted == [
        ("internal_sdk_error", "transaction", 1),
        ("internal_sdk_error", "span", 2),
    ]


@forks
def test_a_fork_while_a_batch_is_exported(exporter):
    """A child waits for no lock that a thread of its parent held, and sends only its own."""
    exporter, tracer, finished, transport = exporter
    with tracer.start_as_current_span("root"):
        tracer.start_span("child of the parent").end()
        exporter.export(finished())
    with tracer.start_as_current_span("child process"):
        pass

    def export():
        signal.alarm(20)
        exporter.export(finished()[1:])
        transactions = [envelope.items[0].get_transaction_event() for envelope in transport.sent]
        return str([len(transaction["spans"]) for transaction in transactions])

    with exporter._lock:
        said = in_child(export)

    assert said == "[0, 0]"


class OfTheApplication(Transport):
    """A transport as written for a sentry-sdk that did not count quantities."""

    def capture_envelope(self, envelope):
        pass

    def record_lost_event(self, reason, data_category=None, item=None):
        pass


@pytest.mark.parametrize("count", [count_lost, sentry_otlp._count_lost])
def test_a_transport_that_cannot_count(count, monkeypatch, caplog):
    """A transport of the application that raises where it is told of a loss reaches nobody."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    lost = {"transactions": 1, "spans": 1} if count is count_lost else {"spans": 1}
    with sentry_sdk.new_scope() as scope:
        scope.set_client(
            sentry_sdk.Client(dsn=DSN, transport=OfTheApplication, default_integrations=False)
        )
        count(reason="sample_rate", **lost)

    assert [record.getMessage() for record in caplog.records if "TypeError" in record.getMessage()]


def test_sentry_sdk_3_has_no_processor(monkeypatch, caplog):
    """Where sentry-sdk has no SentrySpanProcessor, one warning names the backend to use instead."""
    monkeypatch.setitem(sys.modules, "otel_sentry.backends._sdk_processor", None)

    assert backends.build("sentry_sdk", make_bridge()) is None
    (record,) = caplog.records
    assert "Set OTEL_TRACES_EXPORTER=sentry" in record.getMessage()


def test_grpc_by_its_own_name(monkeypatch, caplog):
    """OpenTelemetry's name of OTLP over gRPC names the extra where it is missing."""
    monkeypatch.setattr("otel_sentry.sdk_variables.find_spec", lambda _: None)

    backends.build("otlp_proto_grpc", make_bridge()).shutdown()

    assert "pip install 'otel-sentry[grpc]'" in caplog.text
