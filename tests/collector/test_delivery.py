from __future__ import annotations

import time

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_sentry.cli.tail._server import Response
from otel_sentry.cli.tail.receiver import Receiver
from tests.collector.otlp import Sent, encode, post
from tests.collector.running import SIDECAR, run_collector, settings, wait_until

SPANS = 10_000


def spans(start: int, number: int) -> list[Sent]:
    return [Sent(start + n + 1, start + n + 1) for n in range(number)]


def span_ids(receiver: Receiver) -> set[int]:
    return {int(span["span_id"], 16) for span in receiver.spans()}


def exporter(**changes: object) -> dict:
    """Return an overlay that changes the exporter to Sentry: as in production, but faster."""
    retry = {"initial_interval": "100ms", "max_interval": "500ms"}
    return {"exporters": {"otlp_http/sentry": {"retry_on_failure": retry, **changes}}}


def test_sigkill_loses_nothing_that_was_accepted(tmp_path):
    """10,000 spans in the sidecar's queue survive SIGKILL: all of them arrive after a restart."""
    storage = tmp_path / "storage"
    with run_collector(
        tmp_path, *SIDECAR, environment=settings(None, storage), overlay=exporter()
    ) as sidecar:
        for start in range(0, SPANS, 500):
            assert post(sidecar.url, encode(spans(start, 500))) == 200
        assert sidecar.metric("otelcol_receiver_accepted_spans") == SPANS
        sidecar.kill()
    with (
        Receiver(keep=50_000) as sentry,
        run_collector(tmp_path, *SIDECAR, environment=settings(sentry, storage), name="restarted"),
    ):
        wait_until(lambda: len(span_ids(sentry)) >= SPANS, 30)
        assert span_ids(sentry) == set(range(1, SPANS + 1))
        sizes = [len(request.items) for request in sentry.requests]
    assert max(sizes) <= 1000


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Response(429, {"Retry-After": "1"}), id="429"),
        pytest.param(Response(503), id="503"),
        pytest.param(Response(202, delay=60), id="nothing"),
    ],
)
def test_a_failing_sentry_harms_nobody(tmp_path, answer):
    """
    While Sentry answers 429, 503 or nothing, the application works on undisturbed; what the sidecar
    has accepted arrives after the recovery.
    """
    broken = True
    asked = []

    def respond(request):
        asked.append(time.monotonic())
        return answer if broken else None

    provider = TracerProvider()
    tracer = provider.get_tracer("test")
    took = []
    overlay = exporter(timeout="500ms") if answer.delay else exporter()
    with (
        Receiver(respond=respond) as sentry,
        run_collector(
            tmp_path,
            *SIDECAR,
            environment=settings(sentry, tmp_path / "storage"),
            overlay=overlay,
        ) as sidecar,
    ):
        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(f"{sidecar.url}/v1/traces"))
        )
        made = set()
        for _ in range(2000):
            started = time.perf_counter()
            with tracer.start_as_current_span("work") as span:
                made.add(span.get_span_context().span_id)
            took.append(time.perf_counter() - started)
        assert provider.force_flush(5000)
        wait_until(lambda: len(asked) >= 3, 10)
        assert sidecar.metric("otelcol_receiver_accepted_spans") == len(made)
        assert sidecar.metric("otelcol_exporter_sent_spans") == 0
        broken = False
        answered = len(sentry.requests)
        # Spans of answered requests count only: the receiver keeps what it refuses, too.
        wait_until(
            lambda: (
                made
                <= {
                    int(item.fields["span_id"], 16)
                    for request in sentry.requests[answered:]
                    for item in request.items
                }
            ),
            20,
        )
        provider.shutdown()
    # One in a hundred may meet a busy machine; a wait for Sentry would hold up every one after it.
    assert sorted(took)[-20] < 0.25
    if answer.status == 429:
        # Four consumers, each waits as it was told.
        first = asked[0]
        assert len([moment for moment in asked if moment < first + 0.9]) <= 4


def test_a_full_queue_refuses_and_says_so(tmp_path):
    """A full queue refuses with 503, so that the SDK keeps the spans, and counts each of them."""
    overlay = exporter()
    overlay["exporters"]["otlp_http/sentry"]["sending_queue"] = {
        "queue_size": 1000,
        "num_consumers": 1,
    }
    with run_collector(
        tmp_path,
        *SIDECAR,
        environment=settings(None, tmp_path / "storage"),
        overlay=overlay,
    ) as sidecar:
        answers = [post(sidecar.url, encode(spans(n * 500, 500))) for n in range(8)]
        assert answers[0] == 200
        assert answers[-1] == 503
        accepted = 500 * answers.count(200)
        wait_until(lambda: sidecar.metric("otelcol_receiver_refused_spans") == 4000 - accepted, 10)
        assert sidecar.metric("otelcol_exporter_enqueue_failed_spans") == 4000 - accepted


def test_what_sentry_refuses_for_good_is_counted(tmp_path):
    """
    OTLP takes a 500 for final (https://opentelemetry.io/docs/specs/otlp/#failures-1): the spans are
    dropped, each of them counted, and the sidecar works on.
    """
    with (
        Receiver(respond=lambda _: Response(500)) as sentry,
        run_collector(
            tmp_path, *SIDECAR, environment=settings(sentry, tmp_path / "storage")
        ) as sidecar,
    ):
        assert post(sidecar.url, encode(spans(0, 500))) == 200
        wait_until(lambda: sidecar.metric("otelcol_exporter_send_failed_spans") == 500, 10)
        assert sidecar.metric("otelcol_exporter_queue_size") == 0
        assert post(sidecar.url, encode(spans(500, 500))) == 200
