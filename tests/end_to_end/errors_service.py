"""A FastAPI service in which everything fails, one way or another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - FastAPI reads annotations
from functools import partial
from threading import Thread

import anyio
import sentry_sdk
import sentry_sdk.crons
from celery import Celery
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

import otel_sentry

if os.environ.get("OWN_INIT"):
    sentry_sdk.init(
        traces_sample_rate=1.0,
        release="own@1",
        before_send=lambda event, _: {**event, "tags": {"hook": "own"}},
        before_send_transaction=lambda event, _: {**event, "tags": {"hook": "own"}},
    )
if os.environ.get("LATE_INIT"):
    otel_sentry.init(
        is_noisy_error=lambda error: "noise" in str(error),
        before_send=lambda event, _: {**event, "tags": {"hook": "late"}},
    )


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    if os.environ.get("FAIL_AT_START"):
        fail()
    yield


app = FastAPI(debug=bool(os.environ.get("DEBUG")), lifespan=lifespan)
jobs = Celery("jobs", broker="memory://")
mounted = FastAPI()
plain = Starlette(routes=[])
log = logging.getLogger("service")

otel_sentry.add_test_endpoint(app)


class Body(BaseModel):
    number: int


async def refuse(request: Request, call_next):
    if request.url.path == "/middleware-boom":
        fail()
    if request.url.path.startswith("/middleware/"):
        raise HTTPException(int(request.url.path.rpartition("/")[2]))
    return await call_next(request)


app.add_middleware(BaseHTTPMiddleware, dispatch=refuse)


def depend(status: int) -> None:
    raise HTTPException(status)


@app.exception_handler(402)
async def answer_402(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({}, 402)


class Answer:
    async def __call__(self, request: Request, error: Exception, status: int) -> JSONResponse:
        return JSONResponse({}, status)


app.add_exception_handler(403, partial(Answer(), status=403))  # asynchronous, which Starlette sees


@app.exception_handler(501)
def answer_501(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({}, 501)


@app.get("/status/{status}")
async def raise_status(status: int) -> None:
    raise HTTPException(status)


@app.get("/sync/{status}")
def raise_status_in_a_thread(status: int) -> None:
    raise HTTPException(status)


@app.get("/starlette/{status}")
async def raise_starlettes(status: int) -> None:
    raise StarletteHTTPException(status)


@app.get("/depend/{status}", dependencies=[Depends(depend)])
async def raise_in_dependency(status: int) -> None:
    """Never runs."""


@app.get("/group/{status}")
async def raise_group(status: int) -> None:
    async def fail() -> None:
        raise HTTPException(status)

    async with anyio.create_task_group() as group:
        group.start_soon(fail)
        group.start_soon(fail)


@app.get("/valid")
async def valid(number: int) -> int:
    return number


@app.get("/model")
async def model() -> Body:
    return Body(number="none")  # type: ignore[arg-type]


@app.get("/log-and-raise")
def log_and_raise() -> None:
    try:
        raise ValueError("logged and raised")  # noqa: TRY301 - it is what is tested
    except ValueError:
        log.exception("it failed")
        raise


@app.get("/capture-and-raise")
def capture_and_raise() -> None:
    try:
        raise ValueError("captured and raised")  # noqa: TRY301 - it is what is tested
    except ValueError as error:
        otel_sentry.capture_exception(error, extra={"order": 7}, tags={"shop": "eu"})
        raise


@app.get("/log-in-group")
async def log_in_group() -> None:
    async def fail() -> None:
        try:
            raise ValueError("in a group")  # noqa: TRY301 - it is what is tested
        except ValueError:
            log.exception("it failed")
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(fail)


@app.get("/boom")
async def raise_in_endpoint() -> None:
    raise ValueError("in an endpoint")


@app.get("/sync-boom")
def raise_in_sync_endpoint() -> None:
    raise ValueError("in a thread")


def fail() -> None:
    raise ValueError("in a function")


@app.get("/thread")
async def start_a_thread() -> None:
    Thread(target=fail).start()


def fail_before() -> Iterator[None]:
    fail()
    yield


def fail_after() -> Iterator[None]:
    yield
    fail()


@app.get("/depend-boom", dependencies=[Depends(fail)])
@app.get("/yield-before", dependencies=[Depends(fail_before)])
@app.get("/yield-after", dependencies=[Depends(fail_after)])
async def depends() -> None:
    """Fails before or after it runs."""


@app.get("/background")
async def background(tasks: BackgroundTasks) -> None:
    tasks.add_task(fail)


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def body() -> AsyncIterator[str]:
        yield "a"
        fail()

    return StreamingResponse(body())


@app.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    await socket.accept()
    fail()


@app.get("/raised-from")
async def raised_from() -> None:
    try:
        fail()
    except ValueError as error:
        raise LookupError("nothing there") from error


@app.get("/log-only")
async def log_only() -> None:
    log.error("only a line")


@app.get("/eager")
async def eager() -> None:
    failing_job.apply()
    raise KeyError("after the job")


@jobs.task(name="failing_job")
def failing_job() -> None:
    fail()


@app.get("/noise")
async def noise() -> None:
    raise ValueError("noise")


@app.get("/handled")
async def handled(request: Request) -> dict[str, object]:
    otel_sentry.set_user_context(7, "ada@example.com", role="admin")
    otel_sentry.set_request_context(request)
    otel_sentry.set_tag("shop", "eu")
    otel_sentry.set_context("cart", {"items": 3})
    otel_sentry.add_breadcrumb("paid", "shop", "info", {"amount": 5})
    log.warning("a line")
    logging.getLogger("opentelemetry.sdk").warning("plumbing")
    event = await asyncio.to_thread(otel_sentry.capture_message, "handled", extra={"a": 1})
    klass = otel_sentry.capture_exception(KeyError, level="warning")
    return {"event": event, "class": klass}


@app.get("/crons")
async def crons() -> None:
    sentry_sdk.crons.capture_checkin(monitor_slug="nightly", status="ok")
    sentry_sdk.logger.info("token=Zq9xSekrit7Wv of {who}", who="ada")
    otel_sentry.flush(5)


@mounted.get("/boom")
async def boom() -> None:
    raise ValueError("mounted")


@mounted.get("/sync-boom")
def sync_boom() -> None:
    raise ValueError("mounted in a thread")


@mounted.get("/status/{status}")
async def mounted_status(status: int) -> None:
    raise HTTPException(status)


async def starlette_boom(request: Request) -> None:
    raise ValueError("below Starlette")


plain.router.routes.append(Route("/boom", starlette_boom))
app.mount("/sub", mounted)
app.mount("/plain", plain)
