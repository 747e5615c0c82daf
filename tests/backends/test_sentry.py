from __future__ import annotations

import logging
from datetime import datetime, timezone

import pytest
import sentry_sdk
import sqlalchemy
from opentelemetry import trace
from opentelemetry.trace import set_span_in_context, use_span

from otel_sentry.testing._capture import capturing


@pytest.fixture
def sent():
    """What the whole pipeline sends to Sentry, from OpenTelemetry's API to the transport."""
    with capturing({}) as captured:
        yield captured


@pytest.fixture
def tracer(sent):
    """Return a tracer of the application's own."""
    return trace.get_tracer("shop")


def messages(transaction):
    """Return the messages of a transaction's breadcrumbs."""
    crumbs = transaction.get("breadcrumbs", {}).get("values", ())
    return [crumb["message"] for crumb in crumbs]


def test_consecutive_roots_have_each_their_own_scope(sent, tracer):
    """What a worker's loop says of one piece of work is not said of the one before."""
    for number in range(20):
        with tracer.start_as_current_span(f"job {number}"):
            sentry_sdk.set_user({"id": str(number)})
            sentry_sdk.set_tag("job", number)
            sentry_sdk.get_isolation_scope().clear_breadcrumbs()
            sentry_sdk.add_breadcrumb(message=f"crumb {number}")

    assert [
        (event["transaction"], event["user"]["id"], event["tags"]["job"], messages(event))
        for event in sent.transactions
    ] == [(f"job {n}", str(n), n, [f"crumb {n}"]) for n in range(20)]


def test_roots_in_a_loop_that_also_logs(sent, tracer):
    """Breadcrumbs that are written while transactions are built lose none of them."""
    log = logging.getLogger("shop")
    log.setLevel(logging.INFO)
    for number in range(300):
        with tracer.start_as_current_span(f"job {number}"):
            log.info("began %d", number)
        for _ in range(20):
            log.info("between")

    assert [event["transaction"] for event in sent.transactions] == [
        f"job {number}" for number in range(300)
    ]
    assert sent.lost == {}


def test_a_log_record_with_a_time(sent, tracer):
    """What `extra` of a log record holds does not lose the transaction it was written in."""
    log = logging.getLogger("shop")
    log.setLevel(logging.INFO)
    with tracer.start_as_current_span("job"):
        log.info("order placed", extra={"at": datetime(2026, 1, 1, tzinfo=timezone.utc)})

    (event,) = sent.transactions
    assert messages(event) == ["order placed"]
    assert event["breadcrumbs"]["values"][0]["data"]["at"] == "2026-01-01 00:00:00+00:00"
    assert sent.lost == {}


@pytest.fixture
def engine(sent):
    """An engine that asks something whenever a connection is taken, as who has tenants does."""
    made = sqlalchemy.create_engine("sqlite://")

    @sqlalchemy.event.listens_for(made, "engine_connect")
    def choose_tenant(connection):
        connection.execute(sqlalchemy.text("SELECT 1 AS tenant"))

    yield made
    made.dispose()


def ask(engine):
    """Make one query of the application's own."""
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 2 AS answer"))


def test_a_query_inside_plumbing(sent, tracer, engine):
    """A query that SQLAlchemy makes while it connects belongs to the request, not to nobody."""
    with tracer.start_as_current_span("job") as job:
        ask(engine)

    (event,) = sent.transactions
    assert [span["description"] for span in event["spans"]] == [
        "SELECT ? AS tenant",
        "SELECT ? AS answer",
    ]
    assert {int(span["parent_span_id"], 16) for span in event["spans"]} == {
        job.get_span_context().span_id
    }


def test_a_query_inside_plumbing_after_the_request(sent, tracer, engine):
    """Such a query is sent, too, where the request's transaction has left before."""
    with tracer.start_as_current_span("job") as job:
        pass
    assert len(sent.transactions) == 1
    with use_span(trace.NonRecordingSpan(job.get_span_context())):
        ask(engine)

    late = sent.transactions[1:]
    assert [event["transaction"] for event in late] == ["SELECT", "SELECT"]
    assert {int(event["contexts"]["trace"]["parent_span_id"], 16) for event in late} == {
        job.get_span_context().span_id
    }


def test_plumbing_takes_no_place(sent, tracer):
    """Of 600 queries, each on a connection of its own, all are sent."""
    engine = sqlalchemy.create_engine("sqlite://")
    with tracer.start_as_current_span("job"):
        for _ in range(600):
            ask(engine)
    engine.dispose()

    assert len(sent.transactions[0]["spans"]) == 600
    assert sent.lost == {}


def test_an_exception_that_is_handled(sent, tracer):
    """What an application records and handles is a breadcrumb of its transaction, no error."""
    with tracer.start_as_current_span("job") as span:
        try:
            int("none left")
        except ValueError as error:
            span.record_exception(error)

    assert sent.errors == []
    (message,) = messages(sent.transactions[0])
    assert message.startswith("ValueError: invalid literal for int()")


def test_an_exception_that_is_not_handled(sent, tracer):
    """What leaves a span is in its status, and not said again."""
    with pytest.raises(ValueError, match="none left"), tracer.start_as_current_span("job"):
        raise ValueError("none left")

    (event,) = sent.transactions
    assert messages(event) == []
    assert event["contexts"]["trace"]["data"]["sentry.status.message"] == "ValueError: none left"


def test_odd_spans_and_their_siblings(sent, tracer):
    """What the application calls a span loses neither it nor another one."""
    with tracer.start_as_current_span("job", kind=None) as job:
        job.add_event(5)
        for name in ("one", 123, "two"):
            tracer.start_span(name, set_span_in_context(job), kind=None).end()

    (event,) = sent.transactions
    assert [span["description"] for span in event["spans"]] == ["one", "123", "two"]
    assert messages(event) == ["5"]
    assert sent.lost == {}
