from __future__ import annotations

import json
import re

import pytest
from sentry_relay.processing import StoreNormalizer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from otel_sentry.cli._demo_processes import Processes, free_port
from otel_sentry.cli._demo_shop import find_script
from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import Service, environment, run_service, run_worker

# Path → the answer's status, and the types of the exceptions that arrive.
MATRIX = {
    "/status/400": (400, []),
    "/status/401": (401, ["HTTPException"]),
    # 402, 403 and 501 have handlers of the application's.
    "/status/402": (402, []),
    "/status/403": (403, ["HTTPException"]),
    "/status/501": (501, ["HTTPException"]),
    "/status/404": (404, []),
    "/status/422": (422, []),
    "/status/429": (429, []),
    "/status/503": (503, ["HTTPException"]),
    "/sync/401": (401, ["HTTPException"]),
    "/sync/404": (404, []),
    "/starlette/403": (403, ["HTTPException"]),
    "/starlette/404": (404, []),
    "/depend/401": (401, ["HTTPException"]),
    "/depend/404": (404, []),
    # Starlette answers 500: a middleware is outside of what turns exceptions into answers.
    "/middleware/401": (500, ["HTTPException"]),
    "/middleware/404": (500, []),
    "/group/404": (500, []),
    "/group/401": (500, ["ExceptionGroup"]),
    "/valid?number=x": (422, []),
    "/model": (500, ["ValidationError"]),
    "/nowhere": (404, []),
    "/log-and-raise": (500, ["ValueError"]),
    "/capture-and-raise": (500, ["ValueError"]),
    "/log-in-group": (500, ["ValueError"]),
    "/noise": (500, ["ValueError"]),
    "/sub/boom": (500, ["ValueError"]),
    "/sub/sync-boom": (500, ["ValueError"]),
    "/sub/status/404": (404, []),
    "/sub/status/401": (401, ["HTTPException"]),
    "/plain/boom": (500, ["ValueError"]),
    "/boom": (500, ["ValueError"]),
    "/sync-boom": (500, ["ValueError"]),
    "/depend-boom": (500, ["ValueError"]),
    "/yield-before": (500, ["ValueError"]),
    # Before or after the answer: it depends on FastAPI's version.
    "/yield-after": (None, ["ValueError"]),
    "/middleware-boom": (500, ["ValueError"]),
    # The answer is on its way.
    "/background": (200, ["ValueError"]),
    "/stream": (200, ["ValueError"]),
    "/thread": (200, ["ValueError"]),
    "/ws": (-1, ["ValueError"]),
    "/raised-from": (500, ["LookupError"]),
    "/log-only": (200, ["only a line"]),
    # A Celery task in the same process, and what its caller raises afterwards.
    "/eager": (500, ["KeyError", "ValueError"]),
    "/api/health/sentry-test": (500, ["SentryTestError"]),
}


REQUESTS = {"http.server", "websocket.server"}
LOCAL_ROOTS = {*REQUESTS, "queue.process"}


def talk(service, path, **headers):
    """Open a WebSocket, and return the code that it was closed with; -1: it broke off."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"ws://127.0.0.1:{service.port}{path}"
    with connect(url, additional_headers=names) as socket:
        try:
            socket.recv(timeout=20)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else -1, ""
    return 0, ""


class Visit:
    """What a service answered and sent for each path of the matrix."""

    def __init__(self, directory, **settings):
        with Receiver() as receiver:
            with run_service(
                directory,
                receiver,
                *("uvicorn", "errors_service:app", "--host", "127.0.0.1", "--port", "{port}"),
                SENTRY_RELEASE="shop@1",
                **settings,
            ) as service:
                self.answers = {}
                for number, path in enumerate((*MATRIX, "/handled", "/crons"), start=1):
                    trace = f"{number:032x}-{number:016x}-{settings.get('SAMPLED', '1')}"
                    ask = talk if path == "/ws" else Service.get
                    self.answers[path] = ask(service, path, sentry_trace=trace)
                service.child.process.terminate()
                service.child.process.wait(30)
                self.log = service.child.read_log()
            # The process has ended: what it had queued was flushed.
            self.items = receiver.items
            self.errors = receiver.errors()
            self.transactions = receiver.transactions()
            self.bodies = b"".join(receiver.bodies)

    def of(self, path):
        """Return the events of the trace that the request to the path was part of."""
        number = list(self.answers).index(path) + 1
        return [
            event
            for event in self.errors
            if event["contexts"]["trace"]["trace_id"] == f"{number:032x}"
        ]


def what(event):
    """Return the type of an event's exception, else its message."""
    values = (event.get("exception") or {}).get("values")
    if values:
        return values[-1]["type"]
    return event.get("message") or event["logentry"]["message"]


def spans_of(transaction):
    """Return the ids of all spans of a transaction."""
    root = transaction["contexts"]["trace"]
    return {root["span_id"], *(span["span_id"] for span in transaction["spans"])}


def requests(visit):
    """Return the transactions of requests; the others go on where one of these ended."""
    found = [event for event in visit.transactions if event["contexts"]["trace"]["op"] in REQUESTS]
    traces = {event["contexts"]["trace"]["trace_id"] for event in found}
    assert {e["contexts"]["trace"]["trace_id"] for e in visit.transactions} == traces
    return found


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """Return the visit of a service that calls nothing but the API."""
    return Visit(tmp_path_factory.mktemp("errors"), DEBUG="1", OTEL_LOG_LEVEL="info")


@pytest.fixture(scope="module")
def own_visit(tmp_path_factory):
    """Return the visit of one that has its own sentry_sdk.init() and calls otel_sentry.init()."""
    return Visit(tmp_path_factory.mktemp("errors"), DEBUG="1", OWN_INIT="1", LATE_INIT="1")


@pytest.fixture(scope="module")
def unsampled_visit(tmp_path_factory):
    """Return the visit of one whose traces were sampled out upstream."""
    return Visit(tmp_path_factory.mktemp("errors"), DEBUG="1", SAMPLED="0")


@pytest.mark.parametrize("path", MATRIX)
def test_each_failure(visit, path):
    """Each failure is the events of its table, each once, linked to a span that was sent."""
    status, expected = MATRIX[path]
    assert status in {None, visit.answers[path][0]}
    events = visit.of(path)
    assert sorted(what(event) for event in events) == expected
    for event in events:
        trace = event["contexts"]["trace"]
        sent = [
            transaction
            for transaction in visit.transactions
            if transaction["contexts"]["trace"]["trace_id"] == trace["trace_id"]
        ]
        (transaction,) = [it for it in sent if trace["span_id"] in spans_of(it)]
        # A mounted application's span ends after its root: on a busy machine it goes on there.
        above = transaction["contexts"]["trace"]["parent_span_id"]
        if transaction["contexts"]["trace"]["op"] not in LOCAL_ROOTS:
            (transaction,) = [it for it in sent if above in spans_of(it)]
        assert event["transaction"] == transaction["transaction"]


def test_nothing_else_arrives(visit):
    """No error arrives outside of a request: neither uvicorn's line about it, nor one of ours."""
    linked = [event for path in visit.answers for event in visit.of(path)]
    assert len(linked) == len(visit.errors)
    assert len(requests(visit)) == len(visit.answers)


@pytest.mark.parametrize("path", MATRIX)
def test_each_failure_of_a_client_of_the_applications(own_visit, path):
    """An application's own client sends the same, with its hooks and options; one per request."""
    _, expected = MATRIX[path]
    expected = [] if path == "/noise" else expected
    events = own_visit.of(path)
    assert sorted(what(event) for event in events) == expected
    for event in events:
        assert event["tags"] == {"hook": "own"}
        assert event["release"] == "own@1"


def test_transactions_of_a_client_of_the_applications(own_visit):
    """sentry-sdk's own tracing adds none, not even to the first request."""
    assert len(requests(own_visit)) == len(own_visit.answers)
    assert all(event["tags"]["hook"] == "own" for event in own_visit.transactions)
    assert own_visit.log.count("switched off, since OpenTelemetry traces") == 1
    assert own_visit.log.count("ignores before_send") == 1


@pytest.mark.parametrize("path", MATRIX)
def test_each_failure_of_a_trace_sampled_out(unsampled_visit, path):
    """Where a trace was sampled out its errors arrive all the same, and name it."""
    assert sorted(what(event) for event in unsampled_visit.of(path)) == MATRIX[path][1]
    assert unsampled_visit.transactions == []


def test_what_the_api_sends(visit):
    """Everything that a handler says is on what it captures."""
    by_what = {what(event): event for event in visit.of("/handled")}
    answer = json.loads(visit.answers["/handled"][1])
    assert {name: event["event_id"] for name, event in by_what.items()} == {
        "handled": answer["event"],
        "KeyError": answer["class"],
    }
    message = by_what["handled"]
    assert message["user"] == {"id": 7, "email": "ada@example.com", "role": "admin"}
    assert message["tags"] == {"shop": "eu"}
    assert message["contexts"]["cart"] == {"items": 3}
    assert message["request"]["url"].endswith("/handled")
    assert message["server_name"]
    assert (message["release"], message["environment"]) == ("shop@1", "production")
    crumbs = [crumb["message"] for crumb in message["breadcrumbs"]["values"]]
    assert crumbs == ["paid", "a line"]
    assert by_what["KeyError"]["level"] == "warning"
    (handled,) = [e for e in visit.transactions if e["transaction"] == "GET /handled"]
    assert handled["user"]["id"] == 7


@pytest.mark.parametrize("which", ["visit", "unsampled_visit"])
def test_check_ins_and_logs(which, request):
    """A check-in and a Sentry log name the trace they happened in, sampled or not."""
    visit = request.getfixturevalue(which)
    number = list(visit.answers).index("/crons") + 1
    by_kind = {item.kind: item.fields for item in visit.items}
    assert by_kind["check_in"]["contexts"]["trace"]["trace_id"] == f"{number:032x}"
    assert by_kind["log"]["trace_id"] == f"{number:032x}"
    assert "transaction" not in by_kind["check_in"]
    assert by_kind["log"]["body"] == "token=[Filtered] of ada"
    assert b"Zq9xSekrit7Wv" not in visit.bodies


def test_sessions(visit):
    """Release health reaches the far end: every request is counted, crashes are."""
    totals = {"exited": 0, "errored": 0, "crashed": 0}
    for item in visit.items:
        if item.kind == "sessions":
            assert item.fields["attrs"] == {"release": "shop@1", "environment": "production"}
            for bucket in item.fields["aggregates"]:
                for name in totals:
                    totals[name] += bucket.get(name, 0)
    assert sum(totals.values()) == len(visit.answers)
    assert totals["crashed"]
    assert totals["errored"]


def test_dropped_events_are_counted(visit):
    """What the filters drop is in sentry-sdk's client reports."""
    lost = [
        entry["quantity"]
        for item in visit.items
        if item.kind == "client_report"
        for entry in item.fields["discarded_events"]
        if (entry["category"], entry["reason"]) == ("error", "before_send")
    ]
    assert sum(lost) > 0


def test_relay_takes_every_event(visit, own_visit):
    """Sentry's own normalisation accepts all of them."""
    for event in (*visit.errors, *own_visit.errors):
        normal = StoreNormalizer(project_id=1).normalize_event(json.loads(json.dumps(event)))
        assert not normal.get("errors")


def test_the_test_endpoint(visit, unsampled_visit, tmp_path):
    """It answers 500 and its error arrives; 404 unless debug; without a DSN it says so."""
    path = "/api/health/sentry-test"
    message = "Sentry test error - this is intentional for testing error tracking"
    assert json.loads(visit.answers[path][1]) == {"detail": f"Test error triggered: {message}"}
    assert visit.of(path)[0]["exception"]["values"][-1]["value"] == message
    command = ("uvicorn", "errors_service:app", "--host", "127.0.0.1", "--port", "{port}")
    with run_service(tmp_path, None, *command) as service:
        assert service.get(path) == (404, '{"detail":"Not Found"}')
    with run_service(tmp_path, None, *command, DEBUG="1") as service:
        status, body = service.get(path)
    assert (status, json.loads(body)) == (
        200,
        {
            "status": "sentry_disabled",
            "message": "Sentry is not configured (SENTRY_DSN is empty)",
        },
    )


def test_the_web_process_says_once_that_it_is_ready(visit):
    """One line names the environment."""
    lines = re.findall(r"otel_sentry ready: .*", visit.log)
    assert len(lines) == 1
    assert "environment=production" in lines[0]


@pytest.mark.parametrize("rate", ["1", "0"])
def test_a_service_that_does_not_start(tmp_path, rate):
    """What start-up raises is one error; uvicorn only logs its text, and exits."""
    with Receiver() as receiver, Processes(tmp_path) as processes:
        command = [find_script("opentelemetry-instrument"), find_script("uvicorn")]
        command += ["errors_service:app", "--port", str(free_port())]
        environ = environment(receiver, FAIL_AT_START="1", SENTRY_TRACES_SAMPLE_RATE=rate)
        child = processes.start("service", command, environ)
        assert child.process.wait(60) == 3
    assert [what(event) for event in receiver.errors()] == ["ValueError"]


def test_the_worker_says_once_that_it_is_ready(tmp_path, redis_url):
    """A Celery worker's main process says it once, its children do not repeat it."""
    with (
        Receiver() as receiver,
        run_worker(
            tmp_path,
            receiver,
            f"{redis_url.rpartition('/')[0]}/6",
            *("--concurrency", "2"),
            OTEL_LOG_LEVEL="info",
            SENTRY_ENVIRONMENT="staging",
        ) as child,
    ):
        lines = re.findall(r"otel_sentry ready: .*", child.read_log())
    assert len(lines) == 1
    assert "environment=staging" in lines[0]
