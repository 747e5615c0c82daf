"""An endpoint that fails on purpose, to see that errors arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry._logging import never_raise
from otel_sentry.errors.api import capture_exception, is_sending

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PATH = "/api/health/sentry-test"

_MESSAGE = "Sentry test error - this is intentional for testing error tracking"
_DISABLED = {
    "status": "sentry_disabled",
    "message": "Sentry is not configured (SENTRY_DSN is empty)",
}


class SentryTestError(RuntimeError):
    """What the endpoint raises."""


def add_test_endpoint(app: Starlette, debug: bool | None = None) -> None:
    """
    Add ``GET /api/health/sentry-test``, which sends an error and answers 500.

    Args:
        app: A FastAPI or Starlette application.
        debug: The endpoint answers 404 unless this is true; ``None``: what ``app.debug`` says.
    """
    with never_raise("adding the test endpoint"):

        async def sentry_test(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
            return _answer(app.debug if debug is None else debug)

        app.router.add_route(PATH, sentry_test, methods=["GET"], include_in_schema=False)


def _answer(debug: bool) -> Response:
    from starlette.responses import JSONResponse

    content: dict[str, Any]
    if not debug:
        return JSONResponse({"detail": "Not Found"}, status_code=404)
    if not is_sending():
        return JSONResponse(_DISABLED)
    try:
        raise SentryTestError(_MESSAGE)  # noqa: TRY301 - with a traceback, as a real one has
    except SentryTestError as error:
        capture_exception(error)
        content = {"detail": f"Test error triggered: {error}"}
    return JSONResponse(content, status_code=500)
