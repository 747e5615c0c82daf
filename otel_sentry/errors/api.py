"""
What applications call: capture errors and messages, say who and what they are about.

Each function works in sync and async code, threads and Celery tasks, never raises, and does nothing
while there is no client that sends. Nothing is imported to find that out.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import never_raise
from otel_sentry.errors.request import CONTEXT, describe_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import HTTPConnection

# What logging calls them, in Sentry's words.
_LEVELS = {"warn": "warning", "critical": "fatal"}


def capture_exception(
    error: BaseException | type[BaseException] | None = None,
    *,
    extra: Mapping[str, Any] | None = None,
    level: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str | None:
    """
    Send an exception that the application handles.

    Args:
        error: An exception, or a class of exceptions; by default the one being handled.
        extra: Values to show with this event.
        level: ``fatal``, ``error`` (the default), ``warning``, ``info`` or ``debug``.
        tags: Short values to search this event by.

    Returns:
        The event's id; ``None`` where nothing was sent: no client, an expected error (see the
        filters of :func:`otel_sentry.init`), or one that was sent already.
    """
    with never_raise("capturing an exception"):
        sdk = _sdk()
        if sdk is None:
            return None
        if isinstance(error, type):
            error = _instance(error)
        event_id: str | None = sdk.capture_exception(error, **_scope(extra, level, tags))
        return event_id
    return None


def capture_message(
    message: str, *, level: str = "info", extra: Mapping[str, Any] | None = None
) -> str | None:
    """
    Send a message.

    Args:
        message: What to say; equal messages are one issue in Sentry.
        level: ``fatal``, ``error``, ``warning``, ``info`` or ``debug``.
        extra: Values to show with this event.

    Returns:
        The event's id; ``None`` where nothing was sent.
    """
    with never_raise("capturing a message"):
        sdk = _sdk()
        if sdk is None:
            return None
        event_id: str | None = sdk.capture_message(message, **_scope(extra, level, None))
        return event_id
    return None


def set_user_context(
    user_id: str | int | None = None,
    email: str | None = None,
    username: str | None = None,
    **fields: Any,
) -> None:
    """Say who the current request or task is for; it shows on its errors and its transaction."""
    with never_raise("setting the user"):
        sdk = _sdk()
        if sdk is not None:
            named = {"id": user_id, "email": email, "username": username}
            known = {name: value for name, value in named.items() if value is not None}
            sdk.set_user({**fields, **known})


def clear_user_context() -> None:
    """Forget the user of the current request or task."""
    with never_raise("clearing the user"):
        sdk = _sdk()
        if sdk is not None:
            sdk.set_user(None)


def set_request_context(request: HTTPConnection) -> None:
    """
    Say which request the errors from here on belong to: method, URL, headers, client address.

    sentry-sdk's integrations do so for requests that FastAPI and Starlette serve. The body is not
    read.
    """
    with never_raise("setting the request"):
        sdk = _sdk()
        if sdk is not None:
            sdk.get_isolation_scope().set_context(CONTEXT, describe_request(request))


def add_breadcrumb(
    message: str,
    category: str | None = None,
    level: str = "info",
    data: Mapping[str, Any] | None = None,
) -> None:
    """Note a step that will show with the next event of this request or task."""
    with never_raise("adding a breadcrumb"):
        sdk = _sdk()
        if sdk is not None:
            sdk.add_breadcrumb(
                message=message,
                category=category,
                level=_LEVELS.get(level, level),
                data=dict(data or {}),
            )


def set_tag(key: str, value: Any) -> None:
    """Set a short value to search the events of the current request or task by."""
    with never_raise("setting a tag"):
        sdk = _sdk()
        if sdk is not None:
            sdk.set_tag(key, value)


def set_context(key: str, value: Mapping[str, Any]) -> None:
    """Set values that show on the events of the current request or task."""
    with never_raise("setting a context"):
        sdk = _sdk()
        if sdk is not None:
            sdk.set_context(key, dict(value))


def flush(timeout: float = 2.0) -> None:
    """Send what is queued, traces and errors, within about ``timeout`` seconds."""
    with never_raise("flushing"):
        sdk = _sdk()
        if sdk is None:
            return
        from opentelemetry.trace import get_tracer_provider

        from otel_sentry._background import begin

        deadline = time.monotonic() + timeout
        flush_traces = getattr(get_tracer_provider(), "force_flush", lambda _: True)
        # Both at once: where one hangs it takes no time from the other.
        wait = begin("flushing traces", lambda: flush_traces(int(timeout * 1000)))
        sdk.flush(max(0.0, deadline - time.monotonic()))
        wait(deadline - time.monotonic())


def is_sending() -> bool:
    """Return whether there is a client with a DSN."""
    sdk = _sdk()
    return sdk is not None and bool(sdk.get_client().dsn)


def _sdk() -> Any:
    """Return sentry-sdk's module where it has a client that sends."""
    sdk: Any = sys.modules.get("sentry_sdk")
    return sdk if sdk is not None and sdk.get_client().is_active() else None


def _scope(
    extra: Mapping[str, Any] | None, level: str | None, tags: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return what is said of one event, as sentry-sdk takes it."""
    said: dict[str, Any] = {"extras": extra and dict(extra), "tags": tags and dict(tags)}
    if level is not None:
        said["level"] = _LEVELS.get(level, level)
    return {name: value for name, value in said.items() if value}


def _instance(error: type[BaseException]) -> BaseException:
    """Return an exception of the class, also where its constructor wants arguments."""
    try:
        return error()
    except Exception:  # noqa: BLE001 - the constructor is the application's
        return error.__new__(error)
