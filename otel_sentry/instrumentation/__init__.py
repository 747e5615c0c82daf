"""
What each OpenTelemetry instrumentor is passed: one module a library, all of the same shape.

``options()`` returns the keyword arguments of its ``instrument()``; ``instrumented()``, where there
is one, is called after it. Both get the settings. Where contrib's instrumentation
refuses a version of the library that our tests cover, ``BEYOND`` names it and ``instrument()``
does it.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import report

if TYPE_CHECKING:
    from collections.abc import Collection

    from otel_sentry.settings import Settings

_LIBRARIES = frozenset({"celery", "fastapi", "redis", "sqlalchemy"})
_REFUSED = ("sqlalchemy",)

_LAUNCHER_LOGGER = "opentelemetry.instrumentation.auto_instrumentation._load"


def options_for(name: str, settings: Settings | None = None) -> dict[str, Any]:
    """
    Return what the instrumentor registered as ``name`` is passed; empty for those unknown.

    Args:
        name: The entry point.
        settings: Those of the bridge; ``None``: as where no variable is set.
    """
    if name not in _LIBRARIES:
        return {}
    return dict(_module(name).options(settings))


def instrumented(name: str, settings: Settings) -> None:
    """Do what has to follow the instrumentor registered as ``name``."""
    follow = getattr(_module(name), "instrumented", None) if name in _LIBRARIES else None
    if follow is not None:
        follow(settings)


def instrument_beyond_range(disabled: Collection[str], settings: Settings) -> list[str]:
    """
    Instrument the libraries that are installed in a version that contrib refuses.

    The launcher refuses such a library before it asks the distribution, and logs an error, which
    is kept out of the log here.

    Args:
        disabled: Names of ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS``.
        settings: Those of the bridge.

    Returns:
        The names of the libraries instrumented.
    """
    done = []
    for name in _REFUSED:
        module = _module(name)
        if not {name, "*"}.isdisjoint(disabled) or not _installed(name, module.BEYOND):
            continue
        try:
            instrumentor = _instrumentor(name)
            if instrumentor is not None:
                module.instrument(instrumentor(), settings)
                done.append(name)
        except Exception as error:  # noqa: BLE001 - one library less must not stop the others
            report(f"instrumenting {name}", error)
    if done:
        keep_refusals_out_of_the_log(*done)
    return done


def keep_refusals_out_of_the_log(*names: str) -> None:
    """
    Let the launcher say nothing of libraries that it refuses and that are instrumented after all.

    Args:
        names: The libraries; none means all, where the bridge is off and instruments nothing.
    """
    logging.getLogger(_LAUNCHER_LOGGER).addFilter(_NotAbout(names))


def _module(name: str) -> Any:
    return import_module(f"otel_sentry.instrumentation.{name}")


def _installed(name: str, versions: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    from packaging.specifiers import SpecifierSet

    try:
        return SpecifierSet(versions).contains(version(name))
    except PackageNotFoundError:
        return False


def _instrumentor(name: str) -> Any:
    from importlib.metadata import entry_points

    for entry_point in entry_points(group="opentelemetry_instrumentor", name=name):
        return entry_point.load()
    return None


class _NotAbout(logging.Filter):
    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names

    def filter(self, record: logging.LogRecord) -> bool:
        name, is_refusal, _ = record.getMessage().partition(" only instruments ")
        return not is_refusal or bool(self._names and name not in self._names)
