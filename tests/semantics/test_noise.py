from __future__ import annotations

import pytest

from otel_sentry.semantics.noise import MARK, is_noise, is_request_to

_SQLALCHEMY = "opentelemetry.instrumentation.sqlalchemy"


@pytest.mark.parametrize(
    ("name", "attributes", "instrumentation", "expected"),
    [
        ("connect", {}, _SQLALCHEMY, True),
        ("connect", {}, "shop", False),
        ("GET", {MARK: True}, "opentelemetry.instrumentation.redis", True),
        ("GET /a http send", {"asgi.event.type": "http.response.body"}, "", True),
        ("SELECT", {"db.statement": "SELECT * FROM celery_taskmeta"}, _SQLALCHEMY, True),
        ("INSERT", {"db.query.text": "INSERT INTO kombu_message VALUES (1)"}, _SQLALCHEMY, True),
        ("SELECT", {"db.statement": "SELECT * FROM celery_taskmeta"}, "shop", False),
        ("SELECT", {"db.statement": "SELECT * FROM my_celery_taskmeta"}, _SQLALCHEMY, False),
        ("SELECT", {"db.statement": "SELECT * FROM items"}, _SQLALCHEMY, False),
        ("SELECT", {"db.statement": None}, _SQLALCHEMY, False),
        ("SELECT", {"db.statement": ("celery_taskmeta",)}, _SQLALCHEMY, False),
        ("price the cart", {}, "shop", False),
    ],
)
def test_plumbing_is_told_from_work(name, attributes, instrumentation, expected):
    """Pool checkouts, ASGI messages and what Celery stores for itself are not the application's."""
    assert is_noise(name, attributes, instrumentation) is expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"http.url": "https://sentry.example/api/1/envelope/"}, True),
        ({"url.full": "https://sentry.example/api/1/envelope/"}, True),
        ({"url.full": "https://sentry.example/api/2/envelope/"}, False),
        ({"url.full": b"https://sentry.example/api/1/"}, False),
        ({}, False),
    ],
)
def test_our_own_requests_are_known_by_their_url(attributes, expected):
    """Host and path decide, in either convention."""
    assert is_request_to(attributes, ("https://sentry.example/api/1/",)) is expected
