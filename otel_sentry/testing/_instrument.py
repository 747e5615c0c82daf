"""Instrument the installed libraries for the time of a test."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts
from packaging.specifiers import SpecifierSet

from otel_sentry.instrumentation import instrumented, options_for, sqlalchemy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint

    from otel_sentry.settings import Settings


@contextmanager
def instrumented_libraries(settings: Settings) -> Iterator[None]:
    """Instrument what the launcher would; what is instrumented already is left alone."""
    with ExitStack() as stack:
        for entry_point in entry_points(group="opentelemetry_instrumentor"):
            try:
                instrumentor = _instrument(entry_point, settings)
                if instrumentor is not None:
                    stack.callback(_uninstrument, entry_point.name, instrumentor)
                    instrumented(entry_point.name, settings)
            except Exception:  # noqa: BLE001, PERF203, S112 - no library; `doctor` says more
                continue
        yield


def _instrument(entry_point: EntryPoint, settings: Settings) -> Any:
    """Return the instrumentor; ``None``: it did nothing."""
    beyond = entry_point.name == "sqlalchemy" and _is_beyond()
    dist = entry_point.dist
    if not beyond and dist is not None and get_dist_dependency_conflicts(dist):
        return None
    instrumentor: Any = entry_point.load()()
    if instrumentor.is_instrumented_by_opentelemetry:
        return None
    if beyond:
        sqlalchemy.instrument(instrumentor, settings)
    else:
        given = options_for(entry_point.name, settings)
        instrumentor.instrument(skip_dep_check=True, **given)
    return instrumentor


def _uninstrument(name: str, instrumentor: Any) -> None:
    instrumentor.uninstrument()
    if name == "celery":
        # Ours follow the instrumentor's, which will be connected anew.
        from celery import signals

        from otel_sentry.instrumentation import celery

        for signal in (signals.before_task_publish, signals.task_prerun):
            signal.disconnect(dispatch_uid=celery._ENQUEUED)  # noqa: SLF001


def _is_beyond() -> bool:
    try:
        return SpecifierSet(sqlalchemy.BEYOND).contains(version("sqlalchemy"))
    except PackageNotFoundError:
        return False
