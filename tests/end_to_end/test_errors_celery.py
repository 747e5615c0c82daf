from __future__ import annotations

import re
import subprocess
import sys

import pytest

from otel_sentry.cli._demo_processes import Processes
from otel_sentry.cli._demo_shop import find_script
from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import HERE, environment, run_worker

SECRET = "Zq9xSekrit7Wv"
LAUNCH = (
    "from opentelemetry.instrumentation.auto_instrumentation import initialize\n"
    "initialize()\n"
    "import errors_jobs\n"
    "errors_jobs.publish_all()\n"
)

# Case → the tasks and types of the errors that arrive.
CASES = {
    "plain": ["plain ValueError"],
    "noise": ["noise ValueError"],
    "routed": ["routed ValueError"],
    "after": ["after ValueError"],
    "retried": ["retried ValueError"],
    "recovers": [],
    "retried by itself": ["retried_by_itself ValueError"],
    "ignored": [],
    "rejected": [],
    "thrown": [],
    "logged": ["logged only a line"],
    "logged and raised": ["logged_and_raised ValueError"],
    "captured and raised": ["captured_and_raised ValueError"],
    "raised from": ["raised_from LookupError"],
    "unpicklable": ["unpicklable UnpicklableError"],
    "unstorable": ["unstorable EncodeError"],
    "chain": ["plain ValueError"],
    "group": ["plain ValueError"],
    "chord": ["plain ValueError"],
    "apply": ["plain ValueError"],
    "kept": ["kept HarmlessError"],
    "the same object": ["kept HarmlessError"],
    "always eager": ["plain ValueError"],
    "calls": ["plain ValueError"],
    "calls and raises": ["calls_and_raises KeyError", "plain ValueError"],
    "soft": ["soft SoftTimeLimitExceeded"],
    "hard": ["hard TimeLimitExceeded"],
    "lost": ["lost WorkerLostError"],
    "exits": ["exits WorkerLostError"],
}


def what(event):
    """Return the task and the type of an event's exception, or what a line says."""
    values = (event.get("exception") or {}).get("values")
    said = values[-1]["type"] if values else event.get("message") or event["logentry"]["message"]
    return f"{event['transaction'].partition('.')[2]} {said}"


def spans_of(transaction):
    """Return the ids of all spans of a transaction."""
    root = transaction["contexts"]["trace"]
    return {root["span_id"], *(span["span_id"] for span in transaction["spans"])}


class Visit:
    """What a worker and its producer sent for each case."""

    def __init__(self, directory, redis_url, database, **settings):
        redis_url = f"{redis_url.rpartition('/')[0]}/{database}"
        settings = {"SENTRY_RELEASE": "jobs@1", **settings}
        with Receiver() as receiver:
            options = ("--concurrency", "2", "--queues", "celery,invoices")
            with run_worker(
                directory, receiver, redis_url, *options, app="errors_jobs:app", **settings
            ) as child:
                done = subprocess.run(
                    [sys.executable, "-c", LAUNCH],
                    env=environment(receiver, JOBS_REDIS_URL=redis_url, **settings),
                    cwd=HERE,
                    timeout=60,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                child.process.terminate()
                child.process.wait(30)
                self.log = child.read_log()
            # All processes have ended: what they had queued was flushed.
            self.traces = dict(line.split("\t") for line in done.stdout.splitlines())
            self.errors = receiver.errors()
            self.transactions = receiver.transactions()
            self.bodies = b"".join(receiver.bodies)

    def of(self, case, kind="errors"):
        """Return the events of the case's trace."""
        return [
            event
            for event in getattr(self, kind)
            if event["contexts"]["trace"]["trace_id"] == self.traces[case]
        ]


@pytest.fixture(scope="module")
def visit(tmp_path_factory, redis_url):
    """Return the visit of a worker without observability code but for its use of the API."""
    return Visit(tmp_path_factory.mktemp("jobs"), redis_url, 8, OTEL_LOG_LEVEL="info")


@pytest.fixture(scope="module")
def own_visit(tmp_path_factory, redis_url):
    """Return the visit of one that calls sentry_sdk.init() itself."""
    return Visit(tmp_path_factory.mktemp("jobs"), redis_url, 9, OWN_INIT="1")


@pytest.fixture(scope="module")
def unsampled_visit(tmp_path_factory, redis_url):
    """Return the visit of one that calls otel_sentry.init(), and samples no trace."""
    directory = tmp_path_factory.mktemp("jobs")
    return Visit(directory, redis_url, 10, LATE_INIT="1", SENTRY_TRACES_SAMPLE_RATE="0")


@pytest.mark.parametrize("case", CASES)
def test_each_failure(visit, case):
    """Each failure is the errors of the table, each once, linked to a span that was sent."""
    events = visit.of(case)
    assert sorted(map(what, events)) == CASES[case]
    sent = {
        span for transaction in visit.of(case, "transactions") for span in spans_of(transaction)
    }
    assert {event["contexts"]["trace"]["span_id"] for event in events} <= sent


@pytest.mark.parametrize("case", CASES)
def test_each_failure_of_a_client_of_the_applications(own_visit, case):
    """The application's own client sends the same, through its own hook."""
    events = own_visit.of(case)
    assert sorted(map(what, events)) == CASES[case]
    assert {event["release"] for event in events} <= {"own"}


@pytest.mark.parametrize("case", CASES)
def test_each_failure_of_a_trace_sampled_out(unsampled_visit, case):
    """Where traces are sampled out the errors arrive all the same, but for what a filter drops."""
    assert sorted(map(what, unsampled_visit.of(case))) == ([] if case == "noise" else CASES[case])
    assert unsampled_visit.transactions == []


@pytest.mark.parametrize("which", ["visit", "own_visit", "unsampled_visit"])
def test_nothing_else_arrives(which, request):
    """No error is without a trace, none is of the worker's own log lines, and no secret leaves."""
    visit = request.getfixturevalue(which)
    linked = [event for case in visit.traces for event in visit.of(case)]
    assert len(linked) == len(visit.errors)
    assert SECRET.encode() not in visit.bodies


def test_what_an_error_says_of_its_task(visit):
    """Name, id, arguments by their names, and queue; secrets are out, whatever named them."""
    (event,) = visit.of("plain")
    job = event["extra"]["celery-job"]
    assert job == {
        "task_name": "errors.plain",
        "task_id": event["tags"]["celery_task_id"],
        "args": {"card": 1, "token": "[Filtered]"},
        "kwargs": {"password": "[Filtered]"},
        "queue": "celery",
        "exchange": "",
        "routing_key": "celery",
        "retries": 0,
        "max_retries": 3,
        "is_eager": False,
    }
    (routed,) = visit.of("routed")
    assert routed["extra"]["celery-job"]["routing_key"] == "invoices"


def test_a_task_that_was_retried(visit):
    """The last run's error and the transactions count the retries; breadcrumbs tell of them."""
    (event,) = visit.of("retried")
    assert event["extra"]["celery-job"]["retries"] == 2
    crumbs = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
    assert crumbs == ["retry 2 of 2"]
    runs = [
        run
        for run in visit.of("retried", "transactions")
        if run["contexts"]["trace"]["op"] == "queue.process"
    ]
    counted = {run["contexts"]["trace"]["data"]["messaging.message.retry.count"] for run in runs}
    assert counted == {0, 1, 2}
    assert sorted(run["contexts"]["trace"]["status"] for run in runs) == [
        "internal_error",
        "ok",
        "ok",
    ]


@pytest.mark.parametrize("case", ["hard", "lost", "exits"])
def test_a_child_that_is_gone(visit, case):
    """The main process says which task died with the child, as sentry-sdk would have."""
    (event,) = visit.of(case)
    error = event["exception"]["values"][-1]
    assert error["mechanism"] == {"type": "celery", "handled": False}
    assert "Traceback" not in error["value"]
    assert event["fingerprint"] == ["celery", error["type"], f"errors.{case}"]
    assert event["extra"]["celery-job"]["task_id"] == event["tags"]["celery_task_id"]
    assert "breadcrumbs" not in event or not event["breadcrumbs"]["values"]
    for run in visit.of(case, "transactions"):
        trace = run["contexts"]["trace"]
        assert trace["op"] != "queue.process" or trace["status"] == "internal_error"


def test_what_a_task_says_stays_with_it(visit):
    """User, tags, contexts and breadcrumbs of a task never reach the next of the same process."""
    silent = [event for event in visit.of("says") if event.get("message") == "silent"]
    (said,) = [event for event in visit.of("says") if event.get("message") != "silent"]
    assert (said["user"], said["level"]) == ({"id": 7, "role": "admin"}, "warning")
    assert (said["tags"]["shop"], said["extra"]["a"]) == ("eu", 1)
    assert said["contexts"]["cart"] == {"items": 3}
    assert [crumb["message"] for crumb in said["breadcrumbs"]["values"]] == ["paid"]
    assert silent
    for event in silent:
        assert not event.get("user")
        assert event["tags"].keys() == {"celery_task_id"}
        assert "cart" not in event["contexts"]


def test_the_worker_says_once_that_it_is_ready(visit):
    """The main process says it; its children, those that replaced a dead one too, do not."""
    assert len(re.findall(r"otel_sentry ready: ", visit.log)) == 1


def test_check_ins_of_beat(tmp_path, redis_url):
    """Beat's entries check in, the task ends it, in one trace; an excluded one does not."""
    url = f"{redis_url.rpartition('/')[0]}/11"
    with Receiver() as receiver, Processes(tmp_path) as processes:
        launch = [find_script("opentelemetry-instrument"), find_script("celery")]
        launch += ["-A", "errors_jobs:app"]
        environ = environment(receiver, JOBS_REDIS_URL=url, LATE_INIT="1", SENTRY_RELEASE="jobs@1")
        processes.start("beat", [*launch, "beat", "-s", str(tmp_path / "schedule")], environ)
        processes.start("worker", [*launch, "worker", "-c", "1", "--without-mingle"], environ)
        check_ins = receiver.wait_for(
            lambda seen: (
                (found := [i.fields for i in seen.items if i.kind == "check_in"])[3:] and found
            ),
            40,
            "four check-ins",
        )
        receiver.wait_for(lambda seen: len(seen.transactions()) >= 6, 20, "all transactions")
        transactions = receiver.transactions()

    by_id = {}
    for check_in in check_ins:
        by_id.setdefault(check_in["check_in_id"], []).append(check_in)
    told = {tuple((one["monitor_slug"], one["status"]) for one in both) for both in by_id.values()}
    assert told == {
        (("fine", "in_progress"), ("fine", "ok")),
        (("broken", "in_progress"), ("broken", "error")),
    }
    for both in by_id.values():
        (trace_id,) = {one["contexts"]["trace"]["trace_id"] for one in both}
        spans = set()
        for transaction in transactions:
            if transaction["contexts"]["trace"]["trace_id"] == trace_id:
                spans |= spans_of(transaction)
        assert {one["contexts"]["trace"]["span_id"] for one in both} <= spans
