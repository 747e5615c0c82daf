"""
Capture what an application's own handler of a status code answers.

sentry-sdk's integration captures an ``HTTPException`` where a handler of its class turns it into an
answer, but not where ``@app.exception_handler(401)`` does. Starlette has no hook there, so
``ExceptionMiddleware.add_exception_handler`` is wrapped, here and nowhere else.
"""

from __future__ import annotations

from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any

import sentry_sdk

from otel_sentry._logging import never_raise
from otel_sentry._sentry_sdk import event_from_exception


def capture_in_status_handlers() -> None:
    """Wrap the handlers that applications register from now on; again does nothing."""
    from starlette.middleware.exceptions import ExceptionMiddleware

    add = ExceptionMiddleware.add_exception_handler
    if hasattr(add, "__wrapped__"):
        return

    @wraps(add)
    def add_capturing(self: Any, exc_class_or_status_code: Any, handler: Any) -> None:
        if isinstance(exc_class_or_status_code, int):
            handler = _capturing(handler)
        add(self, exc_class_or_status_code, handler)

    ExceptionMiddleware.add_exception_handler = add_capturing  # type: ignore[method-assign]


def _capturing(handler: Any) -> Any:
    called = handler
    while isinstance(called, partial):  # as Starlette looks for what is asynchronous
        called = called.func
    if iscoroutinefunction(called) or iscoroutinefunction(getattr(called, "__call__", None)):  # noqa: B004

        async def call_async(connection: Any, error: Exception) -> Any:
            _capture(error)
            return await handler(connection, error)

        return call_async

    def call(connection: Any, error: Exception) -> Any:
        _capture(error)
        return handler(connection, error)

    return call


def _capture(error: Exception) -> None:
    with never_raise("capturing what a status handler answers"):
        client = sentry_sdk.get_client()
        integration: Any = client.get_integration("starlette")
        status = getattr(error, "status_code", None)
        if integration is None or status not in integration.failed_request_status_codes:
            return
        event, hint = event_from_exception(error, {"type": "starlette", "handled": True})
        sentry_sdk.capture_event(event, hint=hint)
