"""Tell the spans that plumbing makes from those that the application's work makes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from otel_sentry.semantics._meaning import text

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "otel_sentry.noise"
"""Attribute by which our instrumentation hooks mark what only they can tell."""

# Celery's result back end and kombu's transport on a SQL database.
_CELERY_TABLES = re.compile(r"\b(?:celery_taskmeta|celery_tasksetmeta|kombu_queue|kombu_message)\b")

_SQLALCHEMY = "opentelemetry.instrumentation.sqlalchemy"


def is_noise(name: str, attributes: Mapping[str, Any], instrumentation: str) -> bool:
    """
    Return whether the span is plumbing.

    That is a checkout from SQLAlchemy's pool, an ASGI message, or what Celery stores for itself.

    Args:
        name: The span's name.
        attributes: The span's attributes.
        instrumentation: Name of the span's instrumentation scope.
    """
    if MARK in attributes or "asgi.event.type" in attributes:
        return True
    if instrumentation != _SQLALCHEMY:
        return False
    if name == "connect":
        return True
    statement = text(attributes, "db.query.text", "db.statement")
    # A plain search is much cheaper than the expression, and nearly always the answer.
    return ("celery_task" in statement or "kombu_" in statement) and (
        _CELERY_TABLES.search(statement) is not None
    )


def is_request_to(attributes: Mapping[str, Any], endpoints: tuple[str, ...]) -> bool:
    """
    Return whether the span is a request to one of ``endpoints``: our own traffic.

    Args:
        attributes: The span's attributes, in old or new semantic conventions.
        endpoints: Starts of URLs, e.g. ``http://127.0.0.1:8969/api/1/``.
    """
    url = text(attributes, "url.full", "http.url")
    return url != "" and url.startswith(endpoints)
