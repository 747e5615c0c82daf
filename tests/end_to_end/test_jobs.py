from __future__ import annotations

import subprocess
import sys

import pytest

from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import HERE, by_name, environment, run_worker


def publish(receiver, redis_url, code, *, traced=False, **settings):
    """Run code that publishes jobs, as a process without the launcher unless ``traced``."""
    start = [sys.executable, "-c"]
    if traced:
        code = (
            "from opentelemetry.instrumentation.auto_instrumentation import initialize\n"
            f"initialize()\n{code}"
        )
    done = subprocess.run(
        [*start, f"import jobs\n{code}"],
        env=environment(receiver if traced else None, JOBS_REDIS_URL=redis_url, **settings),
        cwd=HERE,
        timeout=60,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def receiver():
    """Return the far end of the module's worker."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def worker(receiver, redis_url, tmp_path_factory):
    """Return a prefork worker with two children."""
    directory = tmp_path_factory.mktemp("worker")
    with run_worker(directory, receiver, redis_url, "--concurrency", "2") as child:
        yield child


def test_a_job_of_a_script(worker, receiver, redis_url):
    """A script's publish is the parent of the job, and Celery's own commands are no spans."""
    code = "print(jobs.add.delay(1, 2).get(timeout=20))"
    assert publish(receiver, redis_url, code, traced=True).strip() == "3"

    receiver.wait_for(
        lambda seen: (
            {e["contexts"]["trace"]["op"] for e in by_name(seen, "jobs.add")}
            == {"queue.publish", "queue.process"}
        ),
        15,
        "publisher and job",
    )
    by_op = {e["contexts"]["trace"]["op"]: e for e in by_name(receiver, "jobs.add")}
    published, job = (by_op[op]["contexts"]["trace"] for op in ("queue.publish", "queue.process"))
    assert job["trace_id"] == published["trace_id"]
    assert job["parent_span_id"] == published["span_id"]
    assert by_op["queue.process"]["spans"] == by_op["queue.publish"]["spans"] == []
    assert job["data"]["messaging.destination.name"] == "celery"
    assert job["data"]["messaging.message.id"] == published["data"]["messaging.message.id"]
    assert job["data"]["messaging.message.receive.latency"] >= 0


def test_nothing_but_jobs_is_a_transaction(worker, receiver, redis_url):
    """Broker polling, heartbeats and results start no transaction."""
    publish(receiver, redis_url, "jobs.sleep.delay(1.5).get(timeout=20)")
    receiver.wait_for(lambda seen: by_name(seen, "jobs.sleep"), 15)

    assert {event["transaction"].partition(".")[0] for event in receiver.transactions()} == {"jobs"}


def test_retries(worker, receiver, redis_url):
    """Each run of a retried job is a transaction that says which retry it is."""
    publish(receiver, redis_url, "jobs.retry.delay().get(timeout=20)")
    runs = receiver.wait_for(
        lambda seen: [
            e
            for e in by_name(seen, "jobs.retry")
            if e["contexts"]["trace"]["op"] == "queue.process"
        ][2:],
        15,
        "three runs",
    )

    assert runs
    data = [event["contexts"]["trace"]["data"] for event in by_name(receiver, "jobs.retry")]
    assert {0, 1, 2} == {one.get("messaging.message.retry.count", 0) for one in data}


def test_a_failing_job(worker, receiver, redis_url):
    """A failing job is one error, linked to its transaction."""
    publish(receiver, redis_url, "jobs.fail.delay()")
    receiver.wait_for(lambda seen: by_name(seen, "jobs.fail") and seen.errors(), 15)

    (event,) = by_name(receiver, "jobs.fail")
    (error,) = receiver.errors()
    assert event["contexts"]["trace"]["status"] == "internal_error"
    assert error["contexts"]["trace"]["span_id"] == event["contexts"]["trace"]["span_id"]
    assert error["transaction"] == "jobs.fail"


# To a queue that no worker reads; nobody listens at the other broker.
SEND = """
from kombu import Connection
from kombu.exceptions import OperationalError
from opentelemetry import trace

other_broker = Connection("redis://127.0.0.1:1", transport_options={"max_retries": 0})
tracer = trace.get_tracer("t")

def send(name, **options):
    before = trace.get_current_span()
    try:
        jobs.app.send_task(name, (1, 2), queue="unread", retry=False, **options)
    except OperationalError:
        print("failed", end=" ")
    print("clean" if trace.get_current_span() is before else "still in a span")
"""


@pytest.mark.parametrize("rate", ["0", "1"])
@pytest.mark.parametrize("name", ["jobs.add", "elsewhere.add"])
def test_publishing_after_an_outage(redis_url, name, rate):
    """A publish that fails ends its span: it says so, and the next publish is its own trace."""
    code = f"{SEND}\nsend({name!r}, connection=other_broker)\nsend({name!r})\nsend({name!r})"
    with Receiver() as receiver:
        said = publish(receiver, redis_url, code, traced=True, SENTRY_TRACES_SAMPLE_RATE=rate)
        traces = [event["contexts"]["trace"] for event in by_name(receiver, name)]

    assert said.splitlines() == ["failed clean", "clean", "clean"]
    assert len({trace["trace_id"] for trace in traces}) == len(traces) == 3 * int(rate)
    assert (
        sorted(trace["status"] for trace in traces) == ["internal_error", "ok", "ok"][: len(traces)]
    )


@pytest.mark.parametrize("name", ["jobs.add", "elsewhere.add"])
def test_publishing_within_a_span(redis_url, name):
    """A publish is one span, whether it fails or not, and whether its task is known here or not."""
    code = f"""{SEND}
with tracer.start_as_current_span("script"):
    send({name!r}, connection=other_broker)
    with tracer.start_as_current_span("call", kind=trace.SpanKind.CLIENT):
        send({name!r})
"""
    with Receiver() as receiver:
        said = publish(receiver, redis_url, code, traced=True)
        [script] = receiver.transactions()

    assert said.splitlines() == ["failed clean", "clean"]
    root, spans = script["contexts"]["trace"], script["spans"]
    failed, call, sent = sorted(spans, key=lambda span: span["start_timestamp"])
    assert [span["description"] for span in (failed, call, sent)] == [name, "call", name]
    assert (failed["status"], sent["status"]) == ("internal_error", "ok")
    assert failed["parent_span_id"] == call["parent_span_id"] == root["span_id"]
    assert sent["parent_span_id"] == call["span_id"]
    assert failed["data"]["messaging.system"] == sent["data"]["messaging.system"] == "redis"
    assert (root["op"], call["op"]) == ("function", "default")


def test_a_message_past_the_public_method(redis_url):
    """Where only contrib sees a publish, nothing is said of it on the span around it."""
    code = f"""{SEND}
with tracer.start_as_current_span("script"), jobs.app.producer_or_acquire() as producer:
    message = jobs.app.amqp.create_task_message("1", "elsewhere.add", (1, 2))
    jobs.app.amqp.send_task_message(producer, "elsewhere.add", message, queue="unread")
"""
    with Receiver() as receiver:
        publish(receiver, redis_url, code, traced=True)
        [script] = receiver.transactions()

    assert script["contexts"]["trace"]["op"] == "function"


@pytest.fixture
def other_redis_url(redis_url):
    """Return a database that the module's worker does not look at."""
    return f"{redis_url.rpartition('/')[0]}/5"


def test_one_task_per_child(tmp_path, other_redis_url):
    """Every job's transaction arrives, none twice, where each child process ends after one."""
    redis_url = other_redis_url
    with Receiver() as receiver:
        with run_worker(
            tmp_path, receiver, redis_url, "--concurrency", "2", "--max-tasks-per-child", "1"
        ):
            publish(
                receiver,
                redis_url,
                "results = [jobs.add.delay(i, i) for i in range(10)]\n"
                "print([r.get(timeout=30) for r in results])",
            )

        spans = [e["contexts"]["trace"]["span_id"] for e in by_name(receiver, "jobs.add")]
        assert len(spans) == len(set(spans)) == 10


def test_a_worker_that_is_terminated(tmp_path, other_redis_url):
    """What the worker's children had queued when it was told to stop is sent."""
    redis_url = other_redis_url
    with Receiver() as receiver:
        with run_worker(tmp_path, receiver, redis_url, "--concurrency", "2") as child:
            publish(
                receiver,
                redis_url,
                "[r.get(timeout=30) for r in [jobs.add.delay(i, i) for i in range(4)]]",
            )
            child.process.terminate()
            child.process.wait(30)

        assert len(by_name(receiver, "jobs.add")) == 4
