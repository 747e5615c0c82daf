from __future__ import annotations

import pytest

from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import run_service

SECRET = "Zq9xSekrit7Wv"

# Path → the type of the error, what it says, and the span it is linked to: op and description.
STORES = {
    "/sql/refused": ("OperationalError", "connection failed", "db", "connect"),
    "/sql/pool": ("TimeoutError", "QueuePool limit of size 1", "db", "connect"),
    "/sql/integrity": ("IntegrityError", "INSERT INTO cards (id, password)", "db", "INSERT INTO"),
    "/sql/statement": ("OperationalError", "SELECT ? FROM nowhere", "db", "SELECT"),
    "/async/refused": ("OperationalError", "connection failed", "db", "connect"),
    "/async/integrity": ("IntegrityError", "INSERT INTO cards (id, password)", "db", "INSERT INTO"),
    "/redis/refused": ("ConnectionError", "refused", "cache.get", "GET"),
    "/redis/timeout": ("TimeoutError", "Timeout reading", "db.redis", "BLPOP"),
    "/redis/wrongtype": ("ResponseError", "WRONGTYPE", "db.redis", "LPUSH"),
    "/redis/pipeline": ("ResponseError", "WRONGTYPE", "db.redis", "LPUSH"),
    "/async-redis/refused": ("ConnectionError", "Connect call failed", "cache.get", "GET"),
    "/async-redis/wrongtype": ("ResponseError", "WRONGTYPE", "db.redis", "LPUSH"),
    # What an exception was raised from happened in another span than the exception.
    "/wrapped": ("LookupError", "no cart", "http.server", "GET /wrapped"),
}


def path_of(event):
    """Return the path that the request of an event asked for."""
    return f"/{event['request']['url'].split('/', 3)[3]}"


class Visit:
    """What the service sent for each path."""

    def __init__(self, directory, redis_url, **settings):
        with Receiver() as receiver:
            with run_service(
                directory,
                receiver,
                *("uvicorn", "stores_service:app", "--host", "127.0.0.1", "--port", "{port}"),
                JOBS_REDIS_URL=f"{redis_url.rpartition('/')[0]}/7",
                SECRET=SECRET,
                **settings,
            ) as service:
                self.answers = {path: service.get(path)[0] for path in STORES}
                service.child.process.terminate()
                service.child.process.wait(30)
            self.errors = {path_of(event): event for event in receiver.errors()}
            self.count = len(receiver.errors())
            self.transactions = {event["transaction"]: event for event in receiver.transactions()}
            self.bodies = b"".join(receiver.bodies)


@pytest.fixture(scope="module")
def visit(tmp_path_factory, redis_url):
    """Return the visit of a service without observability code."""
    return Visit(tmp_path_factory.mktemp("stores"), redis_url)


@pytest.mark.parametrize("path", STORES)
def test_each_failure(visit, path):
    """A store's error says what it was doing, and its span was sent with an error's status."""
    kind, says, op, description = STORES[path]
    event = visit.errors[path]
    transaction = visit.transactions[f"GET {path}"]
    trace, root = event["contexts"]["trace"], transaction["contexts"]["trace"]
    error = event["exception"]["values"][-1]

    assert visit.answers[path] == 500
    assert (error["type"], says in error["value"]) == (kind, True), error["value"]
    assert trace["trace_id"] == root["trace_id"]
    spans = [{**root, "description": transaction["transaction"]}, *transaction["spans"]]
    (span,) = [span for span in spans if span["span_id"] == trace["span_id"]]
    assert span["op"] == op
    assert span["description"].startswith(description)
    late = kind == "TimeoutError"
    assert span["status"] == ("deadline_exceeded" if late else "internal_error")


def test_each_arrives_once_and_without_secrets(visit):
    """No failure is two events, and no parameter, key's value or password of a URL leaves."""
    assert visit.count == len(STORES)
    assert SECRET.encode() not in visit.bodies


def test_sampled_out(tmp_path, redis_url):
    """Without transactions each error arrives all the same, once."""
    visit = Visit(tmp_path, redis_url, SENTRY_TRACES_SAMPLE_RATE="0")

    assert visit.errors.keys() == STORES.keys()
    assert visit.count == len(STORES)
    assert visit.transactions == {}
