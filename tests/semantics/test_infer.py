from __future__ import annotations

import pytest
from opentelemetry.trace import SpanKind
from sentry_relay.processing import StoreNormalizer

from otel_sentry.semantics import infer
from tests.semantics.tables import ROWS

_SPANS = [
    pytest.param(row, attributes, id=f"{row.id}-{convention}")
    for row in ROWS
    for convention, attributes in (("old", row.old), ("new", row.new))
    if attributes is not None
]


@pytest.mark.parametrize(("row", "attributes"), _SPANS)
def test_a_span_means_the_same_in_old_and_new_conventions(row, attributes):
    """Op, description, name and source are those of the table, by either convention."""
    meaning = infer(row.name, row.kind, attributes)
    assert meaning[:4] == (row.op, row.description, row.transaction, row.source)


@pytest.mark.parametrize(
    ("name", "attributes", "candidates"),
    [
        (
            "GET /items/{id}",
            {"http.method": "GET", "http.target": "/items/5?x=1", "http.route": "/items/{id}"},
            ("GET /items/{id}", "GET /items/5"),
        ),
        (
            "checkout",
            {"http.method": "GET", "http.target": "/items/5", "http.route": "/items/{id}"},
            ("checkout", "GET /items/{id}", "GET /items/5"),
        ),
        ("GET", {"http.request.method": "GET"}, ("GET",)),
        (
            "HTTP /ws/{room}",
            {"http.scheme": "ws", "http.target": "/ws/7", "http.route": "/ws/{room}"},
            ("/ws/{room}", "WEBSOCKET /ws/{room}", "/ws/7", "WEBSOCKET /ws/7"),
        ),
    ],
)
def test_a_sampling_rule_may_name_a_request_by_route_or_path(name, attributes, candidates):
    """A rule is compared with the name, the route and the path."""
    assert infer(name, SpanKind.SERVER, attributes).candidates == candidates


def test_a_task_is_also_called_celery_and_its_name():
    """A rule may say ``celery shop.pack``, whatever the application renamed the span to."""
    assert "celery shop.pack" in infer("run/shop.pack", SpanKind.CONSUMER, {}).candidates
    renamed = infer("pack", SpanKind.CONSUMER, {"celery.task_name": "shop.pack"})
    assert "celery shop.pack" in renamed.candidates


def test_a_name_that_is_no_text_is_no_name():
    """OpenTelemetry does not check what an application passes as a span's name."""
    assert infer(None, SpanKind.INTERNAL, {}).name == "<unlabeled transaction>"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_relay_takes_op_source_and_name_as_they_are(row):
    """Sentry's own ingestion code cuts nothing off and replaces nothing, but for ids in URLs."""
    meaning = infer(row.name, row.kind, row.old)
    event = {
        "type": "transaction",
        "transaction": meaning.name,
        "transaction_info": {"source": meaning.source},
        "start_timestamp": 1.0,
        "timestamp": 2.0,
        "contexts": {"trace": {"trace_id": "1" * 32, "span_id": "2" * 16, "op": meaning.op}},
        "spans": [],
    }
    taken = StoreNormalizer(enable_trimming=True).normalize_event(event)
    assert taken["contexts"]["trace"]["op"] == meaning.op
    if meaning.source != "url":
        assert taken["transaction"] == meaning.name
        assert taken["transaction_info"]["source"] == meaning.source
