from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from otel_sentry.cli._demo_shop import find_script
from otel_sentry.cli.tail.receiver import Receiver, Response
from tests.end_to_end.stack import GUNICORN, HERE, by_name, environment, run_service, run_worker
from tests.end_to_end.test_jobs import publish

SECRET = "Zq9xSekrit7Wv"
OTLP = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SENTRY_CONNECTIONS": "2"}
OTHER_SIGNALS = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}

SCRIPT = """
import logging, time
from opentelemetry import _logs, metrics, trace
from opentelemetry._logs import LogRecord
tracer = trace.get_tracer("script")
for number in range(3):
    with tracer.start_as_current_span("job") as span:
        span.set_attribute("password", "Zq9xSekrit7Wv")
_logs.get_logger("script").emit(LogRecord(body="password=Zq9xSekrit7Wv"))
metrics.get_meter("script").create_counter("jobs").add(3)
"""


def run_script(receiver, code=SCRIPT, **settings):
    """Run a script under the launcher; return how long it took after its last line, and stderr."""
    code += "\nprint(time.time(), flush=True)"
    done = subprocess.run(
        [find_script("opentelemetry-instrument"), sys.executable, "-c", code],
        env=environment(receiver, **settings),
        timeout=60,
        check=True,
        capture_output=True,
        text=True,
    )
    return time.time() - float(done.stdout), done.stderr


def hang(request):
    """Keep each OTLP request, and answer anything else."""
    return Response(200, delay=60) if "/v1/" in request.path else None


def test_traces_by_otlp_errors_to_sentry(tmp_path):
    """Spans go to the Collector, also those of the end; errors go to Sentry, linked to them."""
    with Receiver() as sentry, Receiver() as collector:
        settings = {**OTLP, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with run_service(tmp_path, sentry, **settings) as service:
            assert service.get("/items/3") == (200, "3")
            assert service.get("/sub/boom")[0] == 500
            sentry.wait_for(lambda seen: seen.errors(), 15, "the error")
            service.child.process.send_signal(signal.SIGTERM)
            service.child.process.wait(15)

        roots = {span["span_id"]: span for span in collector.spans() if span["kind"] == "SERVER"}
        (item,) = (span for span in roots.values() if span["name"] == "GET /items/{item_id}")
        (query,) = (s for s in collector.spans() if s["parent_span_id"] == item["span_id"])
        assert query["attributes"]["sentry.op"] == "db"
        assert query["attributes"]["sentry.description"] == "SELECT ?"
        (error,) = sentry.errors()
        ids = {span["span_id"] for span in collector.spans()}
        assert error["contexts"]["trace"]["span_id"] in ids
        assert sentry.transactions() == []


def test_otlp_and_sentry_say_the_same(tmp_path):
    """Each span has the same op, description, status and origin in Sentry and by OTLP."""
    with Receiver() as receiver:
        settings = {
            "OTEL_TRACES_EXPORTER": "sentry,otlp,sentri",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        }
        with run_service(tmp_path, receiver, **settings) as service:
            for path in ("/items/3", "/sub/deep/4", "/nowhere", "/own", "/sub/boom"):
                service.get(path)
            receiver.wait_for(lambda seen: by_name(seen, "GET /sub/deep/{x}"), 15)
            service.child.process.send_signal(signal.SIGTERM)
            service.child.process.wait(15)
            log = service.child.read_log()

        by_otlp = {
            span["span_id"]: (
                span["attributes"]["sentry.op"],
                span["attributes"].get("sentry.segment.name")
                or span["attributes"]["sentry.description"],
                span["attributes"]["sentry.status"],
                span["attributes"]["sentry.origin"],
            )
            for span in receiver.spans()
        }
        in_sentry = {}
        for event in receiver.transactions():
            root = {**event["contexts"]["trace"], "description": event["transaction"]}
            for span in (root, *event["spans"]):
                in_sentry[span["span_id"]] = tuple(
                    span[key] for key in ("op", "description", "status", "origin")
                )
        assert len(in_sentry) >= 8
        assert by_otlp == in_sentry
        assert "OTEL_TRACES_EXPORTER=sentri is ignored" in log


def test_a_collector_that_hangs(tmp_path):
    """It delays neither a request, nor what goes to Sentry, nor the end by more than its share."""
    with Receiver(respond=hang) as receiver:
        settings = {
            "OTEL_TRACES_EXPORTER": "otlp,sentry",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with run_service(tmp_path, receiver, **settings) as service:
            service.get("/untagged")
            receiver.wait_for(lambda seen: seen.spans(), 15, "the request that hangs")
            started = time.monotonic()
            for _ in range(50):
                service.get("/untagged")
            assert time.monotonic() - started < 5
            receiver.wait_for(lambda seen: len(by_name(seen, "GET /untagged")) >= 51, 10)
            service.get("/items/3")
            started = time.monotonic()
            service.child.process.send_signal(signal.SIGTERM)
            service.child.process.wait(15)
            assert time.monotonic() - started < 5  # on a busy machine; about 2.5 of them are ours

        assert by_name(receiver, "GET /items/{item_id}")


def test_the_end_of_a_script():
    """Spans, log records and metrics of a script arrive, scrubbed; nothing is said."""
    with Receiver() as receiver:
        _, stderr = run_script(
            receiver,
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            **OTHER_SIGNALS,
        )
        kinds = [item.kind for item in receiver.items if item.kind.startswith("otlp")]

        assert sorted(kinds) == ["otlp_logs", "otlp_metrics", *["otlp_span"] * 3]
        assert SECRET.encode() not in b"".join(receiver.bodies)
        assert stderr == ""


def test_traces_alone_unless_more_is_named():
    """A Collector with a pipeline of traces is asked to take nothing else."""
    with Receiver() as receiver:
        _, stderr = run_script(
            receiver, OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
        )
        assert {request.path for request in receiver.requests} == {"/v1/traces"}
        assert stderr == ""


def test_the_end_of_a_script_whose_far_end_hangs():
    """With spans, log records and metrics that cannot leave, a script ends in three seconds."""
    with Receiver(respond=hang) as receiver:
        seconds, stderr = run_script(
            receiver,
            OTEL_TRACES_EXPORTER="otlp,sentry",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            **OTHER_SIGNALS,
        )
        assert seconds < 5  # on a busy machine; 2 of them are ours
        assert f"3 spans did not reach {receiver.url} and are lost" in stderr
        assert len(by_name(receiver, "job")) == 3


def test_nobody_listens():
    """A Collector that is not there costs a line or two, and no time at the end worth naming."""
    with Receiver() as receiver:
        port = receiver.port
    url = f"http://127.0.0.1:{port}"
    seconds, stderr = run_script(
        None,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=url,
    )
    assert seconds < 5  # on a busy machine; 2 of them are ours
    assert f"3 spans did not reach {url} and are lost" in stderr
    assert len(stderr.splitlines()) <= 4
    assert "Traceback" not in stderr


@pytest.mark.parametrize("name", ["none", "sentry_otlp", "sentry_sdk", "sentry"])
def test_without_a_dsn(name):
    """What needs a DSN does nothing without one, and says nothing."""
    seconds, stderr = run_script(None, OTEL_TRACES_EXPORTER=name)

    assert seconds < 5
    assert stderr == ""


def test_sentry_otlp():
    """OTEL_TRACES_EXPORTER=sentry_otlp needs nothing but the DSN."""
    with Receiver() as receiver:
        _, stderr = run_script(receiver, OTEL_TRACES_EXPORTER="sentry_otlp")

        assert [span["name"] for span in receiver.spans()] == ["job"] * 3
        assert {item.kind for item in receiver.items} == {"otlp_span"}
        assert stderr == ""


def test_sentry_sdk(tmp_path):
    """sentry-sdk's own processor: our decision, our sampling context, our scrubbing."""
    with Receiver() as receiver:
        with run_service(
            tmp_path,
            receiver,
            OTEL_TRACES_EXPORTER="sentry_sdk",
            SENTRY_TRACES_SAMPLE_RATE="0.999999",
        ) as service:
            service.get(f"/items/3?token={SECRET}")
            trace = "0" * 31 + "a"
            service.get("/items/4", sentry_trace=f"{trace}-{'b' * 16}-0")
            service.get("/sub/boom")
            receiver.wait_for(lambda seen: seen.errors() and seen.transactions(), 15)
            service.child.process.send_signal(signal.SIGTERM)
            service.child.process.wait(15)

        transactions = [i for i in receiver.items if i.kind == "transaction"]
        traces = [item.envelope_headers["trace"] for item in transactions]
        assert transactions[0].fields["transaction"] == "GET /items/{item_id}"
        assert len(transactions) == 2  # not the one that its head did not sample
        assert {trace["sample_rate"] for trace in traces} == {"0.999999"}
        assert {trace["trace_id"] for trace in traces} == {
            item.fields["contexts"]["trace"]["trace_id"] for item in transactions
        }
        assert SECRET.encode() not in b"".join(receiver.bodies)
        (error,) = receiver.errors()
        # The span itself is one of those that sentry-sdk's processor drops: it ends after its root.
        assert error["contexts"]["trace"]["trace_id"] in {trace["trace_id"] for trace in traces}


def test_sentry_wins_over_sentry_sdk():
    """Two backends that would both make transactions: sentry does, and it is said."""
    with Receiver() as receiver:
        _, stderr = run_script(receiver, OTEL_TRACES_EXPORTER="sentry_sdk,sentry")

        assert len(by_name(receiver, "job")) == 3
        assert "sentry_sdk beside sentry" in stderr


def test_one_task_per_child(tmp_path, redis_url):
    """Every job's span arrives by OTLP, none twice, where each child process ends after one."""
    redis_url = f"{redis_url.rpartition('/')[0]}/6"
    with Receiver() as receiver:
        options = ("--concurrency", "2", "--max-tasks-per-child", "1")
        settings = {**OTLP, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "SENTRY_DSN": ""}
        with run_worker(tmp_path, receiver, redis_url, *options, **settings):
            publish(
                receiver,
                redis_url,
                "results = [jobs.add.delay(i, i) for i in range(11)]\n"
                "print([r.get(timeout=30) for r in results])",
            )
        ids = [span["span_id"] for span in receiver.spans() if span["kind"] == "CONSUMER"]
        assert len(ids) == len(set(ids)) == 11


CHILDREN = """
import multiprocessing, time
from opentelemetry import trace
def work(number):
    with trace.get_tracer("script").start_as_current_span(f"work"):
        pass
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    with trace.get_tracer("script").start_as_current_span("main"):
        pass
    children = [context.Process(target=work, args=(number,)) for number in range(4)]
    [child.start() for child in children]
    [child.join() for child in children]
"""


def test_forked_children():
    """What a forked child recorded before it ends arrives, and nothing twice."""
    with Receiver() as receiver:
        run_script(
            None,
            CHILDREN,
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        )
        assert sorted(span["name"] for span in receiver.spans()) == ["main", *["work"] * 4]


def test_gunicorn(tmp_path):
    """Each of gunicorn's workers sends its own spans, to the end."""
    with Receiver() as receiver:
        settings = {**OTLP, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        command = (*GUNICORN, "-w", "2", "--preload", "--chdir", str(HERE))
        with run_service(tmp_path, receiver, *command, **settings) as service:
            pids = {json.loads(service.get("/pid")[1]) for _ in range(20)}
            service.child.process.send_signal(signal.SIGTERM)
            service.child.process.wait(20)
        assert pids
        spans = [span for span in receiver.spans() if span["name"] == "GET /pid"]
        assert len(spans) == 20
