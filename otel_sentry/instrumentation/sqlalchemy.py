"""
SQLAlchemy: as contrib gives it, for 2.1 as well, which contrib 0.66 refuses without need.

Each statement leaves a breadcrumb.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import report
from otel_sentry.errors.breadcrumbs import leave_query, replace_integration
from otel_sentry.instrumentation._leaf import LeafTracerProvider

if TYPE_CHECKING:
    from otel_sentry.settings import Settings

BEYOND = ">=2.1,<2.2"


def options(settings: Settings | None = None) -> dict[str, Any]:
    """
    Return the keyword arguments of ``SQLAlchemyInstrumentor.instrument()``.

    It makes a span whenever a connection is taken from the pool, which no backend shows: a fifth
    of what SQLAlchemy's spans cost a request. One that cannot be had is the application's matter.
    """
    keep_plumbing = settings is not None and settings.infrastructure_spans
    return {"tracer_provider": LeafTracerProvider(() if keep_plumbing else ("connect",))}


def instrumented(settings: Settings) -> None:  # noqa: ARG001 - the same for every library
    """Leave the breadcrumbs of statements in place of sentry-sdk's integration."""
    _leave_breadcrumbs()


def instrument(instrumentor: Any, settings: Settings | None = None) -> None:
    """Instrument a version that contrib refuses."""
    try:
        instrumentor.instrument(skip_dep_check=True, **options(settings))
    except ImportError:
        # Contrib wraps async engines last. They need greenlet, which 2.1 no longer installs.
        if find_spec("greenlet") is not None:
            raise
    _leave_breadcrumbs()


def _leave_breadcrumbs() -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "before_cursor_execute", _on_statement):
        event.listen(Engine, "before_cursor_execute", _on_statement)
    replace_integration("sqlalchemy")


def _on_statement(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> None:
    try:
        style = context.dialect.paramstyle if context is not None else None
        leave_query(statement, parameters, style, many=many)
    except Exception as error:  # noqa: BLE001 - the statement is the application's
        report("leaving a breadcrumb of SQL", error)
