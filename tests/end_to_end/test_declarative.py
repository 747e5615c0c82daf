from __future__ import annotations

from pathlib import Path

import pytest

from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import by_name
from tests.end_to_end.test_backends import SECRET, run_script

EXAMPLE = Path(__file__).parents[2] / "docs/otel-config.yaml"

SENTRY = "tracer_provider: {processors: [{batch: {exporter: {sentry: }}}]}\n"

SCRIPT = f"""
import time
from opentelemetry import _logs, propagate, trace
from opentelemetry._logs import LogRecord
with trace.get_tracer("script").start_as_current_span("job") as span:
    span.set_attributes({{"password": "{SECRET}", "iban": "{SECRET}", "kept": 1}})
    carrier = {{}}
    propagate.inject(carrier)
    assert {{"sentry-trace", "traceparent", "baggage"}} <= set(carrier), carrier
_logs.get_logger("script").emit(LogRecord(body="password={SECRET}"))
trace.get_tracer_provider().force_flush()  # a full machine needs more than the end has
"""


def run(receiver, path=EXAMPLE, code=SCRIPT, **settings):
    return run_script(receiver, code, OTEL_CONFIG_FILE=str(path), **settings)[1]


def test_the_example():
    """The file of the docs works under the launcher: Sentry, a Collector, logs, all scrubbed."""
    with Receiver() as receiver:
        stderr = run(receiver, COLLECTOR=receiver.url, TRACES_SAMPLE_RATE="0.999999")

        (event,) = by_name(receiver, "job")
        (span,) = receiver.spans()
        assert event["release"] == span["attributes"]["sentry.release"] == "shop@1.2.3"
        assert event["contexts"]["trace"]["span_id"] == span["span_id"]
        assert span["resource"]["service.name"] == "shop"
        # The rate of the file, not that of SENTRY_TRACES_SAMPLE_RATE.
        assert span["attributes"]["sentry.client_sample_rate"] == 0.999999
        assert span["attributes"]["kept"] == 1
        assert [item.kind for item in receiver.items].count("otlp_logs") == 1
        assert SECRET.encode() not in b"".join(receiver.bodies)
        assert stderr == ""


def test_the_files_sampling_rules(tmp_path):
    """Rules of the section `distribution` decide."""
    path = tmp_path / "otel.yaml"
    path.write_text(EXAMPLE.read_text().replace("GET /health=0", "'*=0'"))
    with Receiver() as receiver:
        run(receiver, path, COLLECTOR=receiver.url, TRACES_SAMPLE_RATE="1")

        assert receiver.transactions() == receiver.spans() == []


def test_propagators_of_w3c_beside_ours(tmp_path):
    """They do not write their baggage over Sentry's; ours does what they do."""
    path = tmp_path / "otel.yaml"
    path.write_text(f"{EXAMPLE.read_text()}".replace("    - sentry:\n\n# What",
                    "    - sentry:\n    - tracecontext:\n    - baggage:\n\n# What"))  # fmt: skip
    code = SCRIPT.replace(
        "propagate.inject(carrier)",
        "propagate.inject(carrier, baggage.set_baggage('user', 'alice'))\n"
        "    assert 'user=alice,sentry-trace_id=' in carrier['baggage'], carrier",
    ).replace("import _logs,", "import _logs, baggage,")
    with Receiver() as receiver:
        assert run(receiver, path, code, COLLECTOR=receiver.url) == ""


def test_a_standard_file(tmp_path):
    """A file without a word of ours gets our sampler and propagator, and is scrubbed."""
    path = tmp_path / "otel.yaml"
    with Receiver() as receiver:
        path.write_text(
            "file_format: '1.0'\n"
            "tracer_provider:\n"
            "  processors:\n"
            f"    - simple: {{exporter: {{otlp_http: {{endpoint: '{receiver.otlp_endpoint}'}}}}}}\n"
        )
        stderr = run(receiver, path)

        (span,) = receiver.spans()
        assert span["attributes"]["sentry.op"] == "function"
        assert SECRET.encode() not in b"".join(receiver.bodies)
        assert stderr == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is ignored"),
        ("tracer_provider: {}\n", "is ignored"),
        ("file_format: '1.0'\ntracer_provider: {processors: [{batch: {}}]}\n", "is ignored"),
        (
            "file_format: '1.0'\ndistribution: {sentry: {rate: 1}}\n" + SENTRY,
            "distribution.sentry.rate is ignored",
        ),
    ],
    ids=["no-yaml", "no-version", "no-exporter", "unknown-setting"],
)
def test_a_mistake_in_the_file(tmp_path, text, sentence):
    """A mistake in the file is said, and the application runs with what the variables say."""
    path = tmp_path / "otel.yaml"
    path.write_text(text)
    with Receiver() as receiver:
        stderr = run(receiver, path, "import time\n" + SCRIPT.partition("_logs.get")[0])

        assert sentence in stderr
        assert "Traceback" not in stderr
        assert len(by_name(receiver, "job")) == 1


@pytest.mark.parametrize("parts", ["sentry: ", "tracecontext: },{baggage: },{sentry: "])
def test_a_propagator_that_is_not_installed(tmp_path, parts):
    """It is one warning, and the others of the list count."""
    path = tmp_path / "otel.yaml"
    path.write_text(
        f"file_format: '1.0'\n{SENTRY}propagator: {{composite: [{{{parts}}},{{b3: }}]}}\n"
    )
    with Receiver() as receiver:
        stderr = run(receiver, path, "import time\n" + SCRIPT.partition("_logs.get")[0])

        assert len(by_name(receiver, "job")) == 1
        (line,) = stderr.splitlines()
        assert "OTEL_CONFIG_FILE: propagator: the propagator b3 is ignored" in line


MISTAKES = {
    "sampler": SENTRY.replace("}\n", ", sampler: {nope: }}\n"),
    "metrics": SENTRY + "meter_provider: {readers: [{periodic: {exporter: {nope: }}}]}\n",
}


@pytest.mark.parametrize("text", MISTAKES.values(), ids=MISTAKES)
def test_a_component_that_is_not_installed(tmp_path, text):
    """The warning names it, and traces go on."""
    path = tmp_path / "otel.yaml"
    path.write_text(f"file_format: '1.0'\n{text}")
    with Receiver() as receiver:
        stderr = run(receiver, path, "import time\n" + SCRIPT.partition("_logs.get")[0])

        assert len(by_name(receiver, "job")) == 1
        (line,) = stderr.splitlines()
        assert "OTEL_CONFIG_FILE" in line
        assert "nope" in line


def test_no_file():
    """A path that is no file is said."""
    with Receiver() as receiver:
        stderr = run(receiver, "/nowhere.yaml")

        assert "OTEL_CONFIG_FILE=/nowhere.yaml is ignored" in stderr


def test_without_a_dsn(tmp_path):
    """A file whose only exporter needs a DSN does nothing without one."""
    path = tmp_path / "otel.yaml"
    path.write_text(
        "file_format: '1.0'\ntracer_provider: {processors: [{batch: {exporter: {sentry: }}}]}\n"
    )
    code = (
        "import time\nfrom opentelemetry import trace\n"
        "assert type(trace.get_tracer_provider()).__name__ == 'ProxyTracerProvider'"
    )
    assert run(None, path, code) == ""
