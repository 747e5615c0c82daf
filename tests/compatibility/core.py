"""Run the application of a row as its operator would, visit it, and say what is wrong."""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_sentry.cli._demo_processes import Processes, accepts_connections, free_port
from otel_sentry.cli.tail.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SECRET = "core-secret"
ADDRESS = "203.0.113.9"
_READY_SECONDS = 90
_ARRIVED_SECONDS = 30
_SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{port}"],
    "gunicorn": ["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}"],
}
_WORKER = ["celery", "-A", "service:queue", "worker", "--concurrency", "1", "--loglevel", "INFO"]
_SAMPLED_OUT = "5" * 32
_FROM_ELSEWHERE = {
    "sentry-trace": f"{_SAMPLED_OUT}-{'6' * 16}-0",
    "baggage": f"sentry-trace_id={_SAMPLED_OUT},sentry-public_key=public,sentry-sampled=false",
}
_OF_SPANS = {"query", "redis", "httplib"}
_KINDS = {"transaction", "error", "sessions", "client_report", "otlp_span", "otlp_metrics"}
# What we, and OpenTelemetry's launcher, log where something is wrong.
_BAD_LINES = ("otel_sentry failed", "DependencyConflict", "only instruments")
# Three requests and two tasks; those of the request that is sampled out are none.
_TRANSACTIONS, _ERRORS = 4, 3


def problems(scripts: Path, directory: Path, redis_url: str, server: str) -> list[str]:
    """
    Return what is not as it should be; nothing: the row passes.

    Args:
        scripts: Where the launcher of the row's virtual environment stands.
        directory: An empty one for logs.
        redis_url: Of an empty database.
        server: A key of `_SERVERS`.

    Raises:
        ProcessFailedError: A process died.
        TimeoutError: Something did not arrive.
    """
    with Receiver() as receiver, Processes(directory) as processes:
        with _application(processes, receiver, scripts, redis_url, server) as url:
            _get(f"{url}/orders/7?password={SECRET}")
            _get(f"{url}/fail?password={SECRET}")
            _get(f"{url}/fail", **_FROM_ELSEWHERE)
            receiver.wait_for(
                lambda seen: (
                    len(seen.transactions()) >= _TRANSACTIONS
                    and len(seen.errors()) >= _ERRORS
                    and any(span.get("name", "").startswith("run/") for span in seen.spans())
                ),
                _ARRIVED_SECONDS,
                "all of it",
            )
            logs = "".join(log.read_text() for log in directory.glob("*.log"))
        processes.stop()  # what they flush at their end is looked at, too
        return [*_problems_of(receiver), *_problems_in(logs)]


@contextlib.contextmanager
def _application(
    processes: Processes, receiver: Receiver, scripts: Path, redis_url: str, server: str
) -> Iterator[str]:
    """Yield the URL of the service; the worker makes a Sentry client of its own, and sends OTLP."""
    port = free_port()
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "SENTRY_", "PYTEST_", "PYTHON"))
    }
    environment = {
        **clean,
        "SENTRY_DSN": receiver.dsn,
        "SENTRY_TRACES_SAMPLE_RATE": "1",
        "SENTRY_RELEASE": "core@1",
        "CORE_REDIS_URL": redis_url,
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",  # the environments are kept, this directory is not theirs
    }
    of_worker = {
        "CORE_OWN_CLIENT": "1",
        "OTEL_TRACES_EXPORTER": "sentry,otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
    }
    launcher = str(scripts / "opentelemetry-instrument")
    web = [*(part.format(port=port) for part in _SERVERS[server]), "service:app"]
    service = processes.start("service", [launcher, str(scripts / web[0]), *web[1:]], environment)
    worker = processes.start(
        "worker",
        [launcher, str(scripts / _WORKER[0]), *_WORKER[1:]],
        {**environment, **of_worker},
    )
    processes.wait_for(service, lambda: accepts_connections(port), timeout=_READY_SECONDS)
    processes.wait_for(worker, lambda: " ready." in worker.read_log(), timeout=_READY_SECONDS)
    yield f"http://127.0.0.1:{port}"


def _get(url: str, **headers: str) -> None:
    secret = {"Authorization": f"Bearer {SECRET}", "X-Real-Ip": ADDRESS}
    request = urllib.request.Request(url, headers={**secret, **headers})
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30):
        pass


def _problems_of(receiver: Receiver) -> Iterator[str]:
    yield from _of_transactions(receiver)
    yield from _of_errors(receiver)
    for what, value in (("the secret", SECRET), ("an address", ADDRESS)):
        found = [body for body in receiver.bodies if value.encode() in body]
        for body in found:
            at = body.index(value.encode())
            yield f"{what} is sent: ...{body[max(0, at - 80) : at + 20]!r}..."
    if not any(span.get("name") == "run/core.work" for span in receiver.spans()):
        yield "the task is no OTLP span"
    if receiver.refused:
        yield f"{receiver.refused} requests to Sentry were refused"
    unexpected = {item.kind for item in receiver.items} - _KINDS
    if unexpected:
        yield f"unexpected items: {sorted(unexpected)}"


def _of_transactions(receiver: Receiver) -> Iterator[str]:
    found = sorted(event["transaction"] for event in receiver.transactions())
    expected = ["GET /fail", "GET /orders/{number}", "core.fail", "core.work"]
    if found != expected:
        yield f"transactions {found} instead of {expected}"
        return
    of = {event["transaction"]: event for event in receiver.transactions()}
    order, task = of["GET /orders/{number}"], of["core.work"]
    trace = order["contexts"]["trace"]
    ops = sorted(span["op"] for span in order["spans"])
    if (trace["op"], order["transaction_info"]["source"]) != ("http.server", "route"):
        yield f"the request is {trace['op']}, {order['transaction_info']}"
    if ops != ["cache.get", "cache.put", "db", "queue.publish", "queue.publish"]:
        yield f"the request's spans are {ops}"
    if order.get("tags", {}).get("order") != "7":
        yield f"the request's tags are {order.get('tags')}"
    publish = {span["span_id"] for span in order["spans"] if span["op"] == "queue.publish"}
    ran = task["contexts"]["trace"]
    if ran["trace_id"] != trace["trace_id"] or ran["parent_span_id"] not in publish:
        yield "the task is not linked to the request"
    if (ran["op"], [span["op"] for span in task["spans"]]) != ("queue.process", ["db"]):
        yield f"the task is {ran['op']} with {[span['op'] for span in task['spans']]}"
    left = {crumb["category"] for event in of.values() for crumb in _breadcrumbs(event)}
    if left & _OF_SPANS:
        yield f"breadcrumbs repeat spans: {sorted(left & _OF_SPANS)}"


def _breadcrumbs(event: dict[str, Any]) -> list[dict[str, Any]]:
    return list(event.get("breadcrumbs", {}).get("values", ()))


def _of_errors(receiver: Receiver) -> Iterator[str]:
    errors = receiver.errors()
    if len(errors) != _ERRORS or any("exception" not in error for error in errors):
        yield f"errors: {[_text(error) for error in errors]}"
        return
    linked = sorted(_place(error, receiver) for error in errors)
    expected = ["GET /fail", "core.fail", "sampled out"]
    if linked != expected:
        yield f"errors are linked to {linked} instead of {expected}"
    for item in receiver.items:
        if item.kind == "error":
            in_header = item.envelope_headers.get("trace", {}).get("trace_id")
            if in_header != item.fields["contexts"]["trace"]["trace_id"]:
                yield f"the header of an error's envelope names trace {in_header}"


def _place(error: dict[str, Any], receiver: Receiver) -> str:
    """Return the transaction of the error where its name, trace and span say the same."""
    trace = error["contexts"]["trace"]
    if trace["trace_id"] == _SAMPLED_OUT:
        return "sampled out"
    for event in receiver.transactions():
        root = event["contexts"]["trace"]
        if all(trace[key] == root[key] for key in ("trace_id", "span_id")):
            return str(event["transaction"])
    return f"{error['transaction']} {trace}"


def _text(error: dict[str, Any]) -> str:
    values = (error.get("exception") or {}).get("values") or [{}]
    return str(values[-1].get("value") or error.get("logentry") or error.get("message"))


def _problems_in(logs: str) -> Iterator[str]:
    for line in logs.splitlines():
        if (
            "otel_sentry failed" in line
            or "DependencyConflict" in line
            or "only instruments" in line
        ):
            yield f"logged: {line}"
