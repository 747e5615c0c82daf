from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

LAUNCHER = Path(sys.executable).with_name("opentelemetry-instrument")
KEY = "0123456789abcdef0123456789abcdef"

APPLICATION = """
import json, sys, threading
from opentelemetry import propagate, trace
import fastapi
provider = trace.get_tracer_provider()
print(json.dumps({
    "modules": sorted(sys.modules),
    "threads": [thread.name for thread in threading.enumerate()],
    "provider": type(provider).__name__,
    "sampler": provider.sampler.get_description() if hasattr(provider, "sampler") else None,
    "propagator": type(propagate.get_global_textmap()).__name__,
    "propagators": [
        type(one).__module__ for one in getattr(propagate.get_global_textmap(), "_propagators", ())
    ],
    "fastapi": fastapi.FastAPI.__module__,
}))
"""


class Ran(NamedTuple):
    seen: dict
    stderr: str

    @property
    def warnings(self) -> list[str]:
        """The lines on stderr that are about us."""
        return [line for line in self.stderr.splitlines() if "OTEL_" in line or "SENTRY_" in line]


def launch(*flags: str, code: str = APPLICATION, **environ: str) -> Ran:
    """Run an application under the real launcher; it must run, whatever the settings are."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("OTEL_", "SENTRY_", "PYTEST_", "ENVIRONMENT"))
    }
    done = subprocess.run(
        [LAUNCHER, *flags, sys.executable, "-c", code],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert KEY not in done.stderr
    return Ran(json.loads(done.stdout), done.stderr)


def is_on(ran: Ran) -> bool:
    return ran.seen["provider"] == "TracerProvider"


class _Sentry(BaseHTTPRequestHandler):
    """A Sentry that accepts everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def dsn():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sentry) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://{KEY}@127.0.0.1:{server.server_port}/42"
        server.shutdown()


FROZEN = """
import gc, json
import opentelemetry.instrumentation.redis as imported
tracked = {id(one) for one in gc.get_objects()}
mine = [object]
print(json.dumps({
    "frozen": gc.get_freeze_count(),
    "imported": id(vars(imported)) in tracked,
    "mine": any(one is mine for one in gc.get_objects()),
}))
"""


def test_what_was_imported_is_frozen(dsn):
    """The garbage collector leaves alone what the launcher imported, not what came after it."""
    on = launch(code=FROZEN, SENTRY_DSN=dsn).seen
    assert on["frozen"] > 10_000
    assert (on["imported"], on["mine"]) == (False, True)

    off = launch(code=FROZEN, SENTRY_DSN="").seen
    assert off == {"frozen": 0, "imported": True, "mine": True}


@pytest.mark.parametrize(
    "environ",
    [{}, {"SENTRY_DSN": ""}, {"SENTRY_DSN": f"https://{KEY}@h/1", "OTEL_SDK_DISABLED": "true"}],
    ids=["unset", "empty", "disabled"],
)
def test_off_costs_nothing(environ):
    """Without a DSN nothing is instrumented, no thread runs, no SDK is set up."""
    ran = launch(**environ)
    assert ran.seen["provider"] == "ProxyTracerProvider"
    assert ran.seen["threads"] == ["MainThread"]
    assert ran.seen["fastapi"] == "fastapi.applications"
    assert ran.warnings == []
    modules = set(ran.seen["modules"])
    assert not modules & {
        "opentelemetry.instrumentation.fastapi",
        "opentelemetry.instrumentation.celery",
        "opentelemetry.instrumentation.redis",
    }


def test_off_imports_nothing():
    """Without a DSN neither sentry-sdk nor OpenTelemetry's SDK is imported, and nothing is said."""
    ran = launch(SENTRY_DSN="")
    assert not {"sentry_sdk", "opentelemetry.sdk", "otel_sentry.pipeline"} & {*ran.seen["modules"]}
    assert ran.stderr == ""


def test_on_is_lazy(dsn):
    """With a DSN the bridge is on, and no thread starts before the first span."""
    ran = launch(
        SENTRY_DSN=dsn,
        SENTRY_TRACES_SAMPLE_RATE="1",
        code=APPLICATION.replace(
            "print(",
            "before = [thread.name for thread in threading.enumerate()]\n"
            "trace.get_tracer('app').start_span('job').end()\n"
            "print(",
        ).replace('"threads": [', '"before": before, "threads": ['),
    )
    assert is_on(ran)
    assert ran.seen["before"] == ["MainThread"]
    assert len(ran.seen["threads"]) > 1
    assert ran.seen["sampler"] == "SentrySampler{rate=1.0,rules=0}"
    assert ran.seen["propagator"] == "SentryPropagator"
    assert ran.seen["fastapi"] == "opentelemetry.instrumentation.fastapi"
    assert ran.warnings == []


def test_on_is_silent(dsn):
    """While Sentry answers, a process with spans starts and ends without a word."""
    code = (
        "from opentelemetry import trace; trace.get_tracer('app').start_span('job').end(); print(0)"
    )
    assert launch(SENTRY_DSN=dsn, SENTRY_TRACES_SAMPLE_RATE="1", code=code).stderr == ""


@pytest.mark.parametrize(
    ("dsn", "reason"),
    [
        (f"https://{KEY}@sentry.example/shop", "it does not end with a numeric project id"),
        (f"'https://{KEY}@sentry.example/1'", "it does not start with http:// or https://"),
        (KEY, "it does not start with http:// or https://"),
        (f"https://{KEY}@[sentry/1", "it cannot be read"),
    ],
)
def test_malformed_dsn(dsn, reason):
    """A malformed DSN switches the bridge off; one line says why and how to mend it, no key."""
    ran = launch(SENTRY_DSN=dsn)
    assert not is_on(ran)
    [line] = ran.warnings
    assert reason in line
    assert "Client Keys (DSN)" in line
    assert "nothing is sent" in line


@pytest.mark.parametrize(
    ("environ", "sentences"),
    [
        (
            {"SENTRY_TRACES_SAMPLE_RATE": "abc", "OTEL_LOG_LEVEL": "nonsense"},
            [
                r"SENTRY_TRACES_SAMPLE_RATE=abc is ignored: it cannot be read. Using 0.1 instead\.",
                "OTEL_LOG_LEVEL=nonsense is ignored",
            ],
        ),
        (
            {"SENTRY_TRACES_SAMPLE_RATE": "7", "OTEL_SENTRY_MAX_SPANS": "many"},
            ["SENTRY_TRACES_SAMPLE_RATE=7 is ignored", "OTEL_SENTRY_MAX_SPANS=many is ignored"],
        ),
        (
            {"SENTRY_TRACES_SAMPLE_RATE": "nan", "OTEL_SENTRY_SAMPLING_RULES": "GET /a; GET /b=0"},
            ["SENTRY_TRACES_SAMPLE_RATE=nan is ignored", "the rule 'GET /a' is ignored"],
        ),
        (
            {"OTEL_SENTRY_ENV_FILE": "/nowhere/.env"},
            ["OTEL_SENTRY_ENV_FILE=/nowhere/.env is ignored: FileNotFoundError"],
        ),
        (
            {"OTEL_TRACES_EXPORTER": "sentri,sentry"},
            ["OTEL_TRACES_EXPORTER=sentri is ignored.*Did you mean sentry"],
        ),
    ],
    ids=["abc", "7", "nan", "file", "exporter"],
)
def test_bad_values(dsn, environ, sentences):
    """A bad value is named in one line, and the bridge goes on without it."""
    ran = launch(SENTRY_DSN=dsn, **environ)
    assert is_on(ran)
    assert len(ran.warnings) == len(sentences), ran.stderr
    for sentence in sentences:
        assert any(re.search(sentence, line) for line in ran.warnings), ran.stderr
    rules = int("OTEL_SENTRY_SAMPLING_RULES" in environ)
    assert ran.seen["sampler"] == f"SentrySampler{{rate=0.1,rules={rules}}}"


OTHERS = {
    "metrics": {"OTEL_METRICS_EXPORTER": "prometheus"},
    "logs": {"OTEL_LOGS_EXPORTER": "nope"},
    "one-of-two": {"OTEL_LOGS_EXPORTER": "nope,console"},
    "protocol": {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_METRICS_EXPORTER": "otlp"},
    "case": {"OTEL_EXPORTER_OTLP_PROTOCOL": "GRPC", "OTEL_LOGS_EXPORTER": "otlp"},
    "its-protocol": {
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json",
        "OTEL_METRICS_EXPORTER": "otlp",
    },
    "traces": {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_TRACES_EXPORTER": "sentry,otlp"},
    "ids": {"OTEL_PYTHON_ID_GENERATOR": "xray"},
    "limit": {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x"},
    "negative": {"OTEL_ATTRIBUTE_COUNT_LIMIT": "-1"},
}


@pytest.mark.parametrize("environ", OTHERS.values(), ids=OTHERS)
def test_bad_values_of_opentelemetry(dsn, environ):
    """What OpenTelemetry's set-up would fail over is one line, and the bridge goes on."""
    ran = launch(SENTRY_DSN=dsn, **environ)
    assert is_on(ran)
    assert ran.seen["propagator"] == "SentryPropagator"
    assert ran.seen["fastapi"] == "opentelemetry.instrumentation.fastapi"
    [line] = ran.warnings
    name = next(iter(environ))
    assert f"{name}={environ[name].partition(',')[0]} is ignored: " in line
    assert "failed while" not in ran.stderr


def test_empty_means_unset(dsn):
    """OpenTelemetry's variables, too, may be empty, or a list with an empty place."""
    ran = launch(
        SENTRY_DSN=dsn,
        OTEL_PYTHON_ID_GENERATOR="",
        OTEL_SPAN_EVENT_COUNT_LIMIT=" ",
        OTEL_METRICS_EXPORTER=" none ,",
        OTEL_LOGS_EXPORTER="",
        OTEL_EXPORTER_OTLP_PROTOCOL=" ",
    )
    assert is_on(ran)
    assert ran.stderr == ""


def test_an_exporter_of_metrics_that_cannot_be_made(dsn):
    """What fails when it is built is said with its reason; traces go on."""
    ran = launch(
        SENTRY_DSN=dsn,
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_METRICS_COMPRESSION="brotli",
    )
    assert is_on(ran)
    assert ran.seen["propagator"] == "SentryPropagator"
    [line] = ran.stderr.splitlines()
    assert "cannot set up metrics and logs" in line
    assert "brotli" in line


SQLALCHEMY = """
import importlib.metadata, json, sqlalchemy
print(json.dumps(importlib.metadata.version("sqlalchemy")))
"""


@pytest.mark.parametrize("name", ["none", "sentri", "Sentri", ","])
def test_nothing_is_said_of_libraries_while_no_trace_is_sent(dsn, name):
    """Where there is no backend of traces, the launcher does not complain about libraries."""
    ran = launch(SENTRY_DSN=dsn, OTEL_TRACES_EXPORTER=name, code=SQLALCHEMY)
    assert "only instruments" not in ran.stderr


def test_an_unknown_sampler(dsn):
    """A sampler that nobody registers leaves OpenTelemetry's default, and the application runs."""
    ran = launch(SENTRY_DSN=dsn, OTEL_TRACES_SAMPLER="unknown")
    assert is_on(ran)
    assert "unknown" in ran.stderr


def test_a_standard_sampler(dsn):
    """A standard sampler works as OpenTelemetry has it."""
    ran = launch(SENTRY_DSN=dsn, OTEL_TRACES_SAMPLER="always_off")
    assert ran.seen["sampler"] == "AlwaysOffSampler"
    assert ran.stderr == ""


def test_the_propagator_by_name(dsn):
    """OTEL_PROPAGATORS may name ours, alone or among others."""
    ran = launch(SENTRY_DSN=dsn, OTEL_PROPAGATORS="sentry,tracecontext,baggage")
    assert is_on(ran)
    assert ran.stderr == ""
    assert ran.seen["propagators"] == ["otel_sentry.propagation"], "it does what W3C's do"


HEADERS = """
import json
from opentelemetry import propagate, trace
carrier = {}
with trace.get_tracer("app").start_as_current_span("job"):
    propagate.inject(carrier)
print(json.dumps(sorted(carrier)))
"""


@pytest.mark.parametrize(
    ("names", "written"),
    [
        ("tracecontext,baggage,sentry", ["baggage", "sentry-trace", "traceparent"]),
        ("tracecontext", ["traceparent"]),
        ("none", []),
        ("b3,tracecontext", ["traceparent"]),
        ("b4", ["baggage", "sentry-trace", "traceparent"]),
    ],
)
def test_propagators_of_an_env_file(dsn, tmp_path, names, written):
    """OTEL_PROPAGATORS counts in a file, too; a name that nobody registers is one warning."""
    path = tmp_path / ".env"
    path.write_text(f"OTEL_PROPAGATORS={names}\n")
    ran = launch(
        SENTRY_DSN=dsn, OTEL_SENTRY_ENV_FILE=str(path), SENTRY_TRACES_SAMPLE_RATE="1", code=HEADERS
    )
    # What a sampler adds to the trace state is no matter of this test.
    assert [name for name in ran.seen if name != "tracestate"] == written
    unknown = re.findall(r"b\d", names)
    assert len(ran.stderr.splitlines()) == len(unknown)
    for name in unknown:
        assert f"OTEL_PROPAGATORS: the propagator {name} is ignored: it is not installed" in (
            ran.stderr
        )


def test_flags(dsn):
    """Our variables are flags of the launcher, too."""
    ran = launch(
        "--sentry_max_spans",
        "none",
        "--sentry_sampling_rules",
        "GET /a=1",
        "--traces_exporter",
        "sentry",
        SENTRY_DSN=dsn,
    )
    assert is_on(ran)
    [line] = ran.warnings
    assert "OTEL_SENTRY_MAX_SPANS=none is ignored" in line
    assert ran.seen["sampler"] == "SentrySampler{rate=0.1,rules=1}"


def test_an_env_file(dsn, tmp_path):
    """The DSN may come from a file."""
    path = tmp_path / ".env"
    path.write_text(f'export SENTRY_DSN="{dsn}"  # secret\nSENTRY_TRACES_SAMPLE_RATE=0.5\n')
    ran = launch(OTEL_SENTRY_ENV_FILE=str(path))
    assert is_on(ran)
    assert ran.seen["sampler"] == "SentrySampler{rate=0.5,rules=0}"
    assert ran.stderr == ""
