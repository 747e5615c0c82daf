"""
Tell the exceptions that are expected from those that someone has to look at.

A client that asks for what is not there, or sends what does not validate, is told so by the answer;
in Sentry it would bury the errors of the service.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from otel_sentry.options import Options

# By name: telling an exception's class must import no framework. FastAPI's class is a subclass.
_HTTP_EXCEPTIONS = frozenset({"starlette.exceptions.HTTPException"})

# A request that does not validate. pydantic's own ValidationError and FastAPI's
# ResponseValidationError are faults of the service: they answer 500, and are sent.
_INVALID_REQUESTS = frozenset(
    {
        "fastapi.exceptions.RequestValidationError",
        "fastapi.exceptions.WebSocketRequestValidationError",
    }
)

_CHORD_ERROR = "celery.exceptions.ChordError"

# What the main process of a Celery worker logs about a task that failed, beside its exception; the
# death of a pool's process, which is its task's WorkerLostError; that a service does not start.
_SAID_BY_EXCEPTIONS = frozenset(
    {
        ("celery.worker.request", "Hard time limit (%ss) exceeded for %s[%s]"),
        ("multiprocessing", "Process %r pid:%r exited with %r"),
        ("uvicorn.error", "Application startup failed. Exiting."),
        ("uvicorn.error", "Application shutdown failed. Exiting."),
    }
)

_MAX_DEPTH = 20  # of groups in groups; what is deeper counts as unexpected


def is_expected(error: BaseException, options: Options) -> bool:
    """
    Return whether ``error`` is not to be sent.

    An exception group is expected where all it holds is, however deep.
    """
    return _is_expected(error, options, _MAX_DEPTH)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group, of the groups in it, too; any other exception itself."""
    waiting = [error]
    while waiting:
        one = waiting.pop()
        inside = _inside(one)
        if inside:
            waiting.extend(inside)
        else:
            yield one


def is_logger(name: object, loggers: Iterable[str]) -> bool:
    """Return whether the logger called ``name`` is one of ``loggers``, or below one."""
    return f"{name}.".startswith(_prefixes(tuple(loggers)))


def is_said_by_an_exception(event: Mapping[str, Any]) -> bool:
    """Return whether a log line only repeats what arrives as an exception, too."""
    logger, said = event.get("logger"), (event.get("logentry") or {}).get("message")
    if logger == "uvicorn.error" and isinstance(said, str) and said.startswith("Traceback "):
        return "starlette" in said  # the text of what its lifespan raised, and sentry-sdk captures
    return (logger, said) in _SAID_BY_EXCEPTIONS


@lru_cache(maxsize=8)  # our lists, with what the application's options add to each
def _prefixes(loggers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{one}." for one in loggers)


def _is_expected(error: BaseException, options: Options, depth: int) -> bool:
    if _is_expected_itself(error, options):
        return True
    inside = _inside(error)
    return bool(depth and inside) and all(_is_expected(one, options, depth - 1) for one in inside)


def _is_expected_itself(error: BaseException, options: Options) -> bool:
    names = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__]
    if not _INVALID_REQUESTS.isdisjoint(names):
        return True
    if _CHORD_ERROR in names and error.__cause__ is not None:
        return True  # the failure of a task in it, which was sent from there
    if not _HTTP_EXCEPTIONS.isdisjoint(names):
        status = getattr(error, "status_code", None)
        if isinstance(status, int) and status not in options.failed_request_status_codes:
            return True
    short = {cls.__qualname__ for cls in type(error).__mro__}
    for ignored in options.ignore_errors:
        if ignored in names or ignored in short:
            return True
        if isinstance(ignored, type) and isinstance(error, ignored):
            return True
    return _is_noisy(error, options)


def _is_noisy(error: BaseException, options: Options) -> bool:
    if options.is_noisy_error is None:
        return False
    try:
        return bool(options.is_noisy_error(error))
    except Exception as failure:  # noqa: BLE001 - the application's own; the error counts more
        report("asking is_noisy_error", failure)
        return False


def _inside(error: Any) -> tuple[BaseException, ...]:
    """Return what a group holds; by name, since Python 3.10 has groups from a package only."""
    if any(cls.__name__ == "BaseExceptionGroup" for cls in type(error).__mro__):
        return tuple(error.exceptions)
    return ()
