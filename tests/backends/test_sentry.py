from __future__ import annotations

import logging
from datetime import datetime

import pytest
import sentry_sdk
from opentelemetry import trace

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
        log.info("order placed", extra={"at": datetime(2026, 1, 1)})

    (event,) = sent.transactions
    assert messages(event) == ["order placed"]
    assert event["breadcrumbs"]["values"][0]["data"]["at"] == "2026-01-01 00:00:00"
    assert sent.lost == {}
