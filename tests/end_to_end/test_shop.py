from __future__ import annotations

import json
from collections import Counter

import pytest
from sentry_relay.processing import StoreNormalizer

from otel_sentry.cli._demo_visit import SECRETS

ROUTES = ["GET /items", "POST /orders", "GET /items/{item_id}", "POST /stock/sync", "GET /report"]
TASKS = ["shop.charge_card", "shop.pack_order", "shop.sync_stock"]


@pytest.fixture(params=["run", "postgres_run"])
def any_run(request):
    """Return the run on SQLite with old conventions, then that on PostgreSQL with new ones."""
    return request.getfixturevalue(request.param)


def test_names_and_sources(any_run):
    """Transactions are named by route and by task."""
    sources = {(e["transaction"], e["transaction_info"]["source"]) for e in any_run.transactions}

    assert {(route, "route") for route in ROUTES} <= sources
    assert {(task, "task") for task in TASKS} <= sources
    assert {source for _, source in sources} == {"route", "task"}


def test_one_transaction_for_each_request_and_run(any_run):
    """One request is one transaction, one run of a task is one transaction."""
    names = Counter(event["transaction"] for event in any_run.transactions)
    names.pop("GET /orders/{order_id}")  # the visitor polls it

    expected = Counter(ROUTES + TASKS)
    expected["shop.send_receipt"] = 2  # the first run is retried
    assert names == expected


def test_ops_of_roots(any_run):
    """Requests are http.server, tasks are queue.process."""
    ops = {
        (event["transaction_info"]["source"], event["contexts"]["trace"]["op"])
        for event in any_run.transactions
    }

    assert ops == {("route", "http.server"), ("task", "queue.process")}


def test_no_span_for_each_message(any_run):
    """There is no span for the ASGI messages of a request."""
    descriptions = [span["description"] for span in any_run.spans.values()]

    assert not [text for text in descriptions if text.endswith(("http send", "http receive"))]


def test_every_kind_of_span(any_run):
    """Requests, SQL, Redis commands and messages are spans."""
    ops = {span["op"] for span in any_run.spans.values()}

    assert {"http.server", "db", "db.redis", "queue.publish", "queue.process"} <= ops


def test_worker_continues_the_trace(any_run):
    """The worker's transaction has the web's trace id and the producer span as its parent."""
    order = any_run.transaction("POST /orders")
    task = any_run.transaction("shop.charge_card")

    trace = task["contexts"]["trace"]
    assert order["contexts"]["trace"]["trace_id"] == trace["trace_id"]
    producer = any_run.spans[trace["parent_span_id"]]
    assert (producer["op"], producer["description"]) == ("queue.publish", "shop.charge_card")
    assert producer in order["spans"]


def test_spans_are_one_tree(any_run):
    """Every span but a trace's first has a parent that was sent."""
    orphans = [
        span
        for span in any_run.spans.values()
        if "parent_span_id" in span and span["parent_span_id"] not in any_run.spans
    ]

    assert orphans == []


def test_errors_are_linked(any_run):
    """Each error is there once, and its trace context names a span that was sent."""
    types = [event["exception"]["values"][-1]["type"] for event in any_run.errors]

    assert sorted(types) == ["KeyError", "ZeroDivisionError"]
    for event in any_run.errors:
        trace = event["contexts"]["trace"]
        assert any_run.spans[trace["span_id"]]["trace_id"] == trace["trace_id"]


def test_errors_bear_the_name_of_their_transaction(any_run):
    """An error's transaction is the name of the transaction that it is linked to."""
    names = {
        event["exception"]["values"][-1]["type"]: event["transaction"] for event in any_run.errors
    }

    assert names == {"ZeroDivisionError": "GET /report", "KeyError": "shop.sync_stock"}


def test_status(any_run):
    """A failed request and a failed task are internal errors, the rest is ok."""
    failed = {
        event["transaction"]
        for event in any_run.transactions
        if event["contexts"]["trace"]["status"] == "internal_error"
    }

    assert {"GET /report", "shop.sync_stock"} == failed


def test_dynamic_sampling_context(any_run):
    """Every envelope bears the sampling context of its trace, as its head made it."""
    contexts = [headers["trace"] for headers in any_run.envelope_headers]

    for context in contexts:
        assert context["public_key"] == "public"
        assert context["release"] == "shop@1.2.3"
        assert context["sampled"] == "true"
        assert float(context["sample_rand"]) < float(context["sample_rate"])
    by_trace = {}
    for context in contexts:
        assert by_trace.setdefault(context["trace_id"], context) == context


def test_no_secret_leaves(any_run):
    """What customers typed and what authorises them is in no request to Sentry."""
    sent = b"\n".join(any_run.bodies)

    for secret in (*SECRETS.values(), "ada@example.com"):
        assert secret.encode() not in sent
    assert b"[Filtered]" in sent


def test_relay_accepts_every_event(any_run):
    """Sentry's own normalisation takes every event."""
    for event in (*any_run.transactions, *any_run.errors):
        normalized = StoreNormalizer(project_id=1).normalize_event(json.loads(json.dumps(event)))

        assert normalized["event_id"] == event["event_id"]
        assert not normalized.get("errors")


def test_silent_when_healthy(any_run):
    """Neither the web application nor the worker logs a word about telemetry."""
    for sentence in ("otel_sentry failed", "is ignored", "only instruments", "Sentry is attempt"):
        assert sentence not in any_run.logs


def test_nothing_is_lost(any_run):
    """Nothing is counted as lost but the duplicate that sentry-sdk itself drops."""
    lost = [
        (entry["category"], entry["reason"])
        for report in any_run.client_reports
        for entry in report["discarded_events"]
    ]

    assert set(lost) <= {("error", "event_processor")}


def test_rate_zero_sends_errors_alone(unsampled_run):
    """Errors are sent whatever the trace rate, linked to a trace that is not sent."""
    assert unsampled_run.transactions == []

    traces = [event["contexts"]["trace"] for event in unsampled_run.errors]
    headers = [headers["trace"] for headers in unsampled_run.envelope_headers]
    assert [trace["trace_id"] for trace in traces] == [h["trace_id"] for h in headers]
    assert {"false"} == {context["sampled"] for context in headers}
