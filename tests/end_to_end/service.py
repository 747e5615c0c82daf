"""A FastAPI service with everything that makes tracing hard; no observability code but tags."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING

import requests
import sentry_sdk
from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = FastAPI()
sub = FastAPI()
engine = create_engine("sqlite://", connect_args={"check_same_thread": False})
tasks: set[asyncio.Task] = set()


def query() -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


@app.get("/items/{item_id}")
def read_item(item_id: int) -> int:
    query()
    return item_id


@app.get("/tags/{name}")
async def tags(name: str) -> dict[str, str]:
    sentry_sdk.set_tag("name", name)
    sentry_sdk.set_user({"id": name})
    await asyncio.sleep(0.05)
    return {"name": name}


@app.get("/untagged")
async def untagged() -> None:
    await asyncio.sleep(0)


@app.get("/background")
async def background(after: BackgroundTasks) -> None:
    async def later() -> None:
        await asyncio.sleep(0.5)
        query()

    after.add_task(later)


@app.get("/forget")
async def forget() -> None:
    async def later() -> None:
        for _ in range(3):
            await asyncio.sleep(0.2)
            query()

    task = asyncio.create_task(later())
    tasks.add(task)
    task.add_done_callback(tasks.discard)


@app.get("/stream")
async def stream(broken: bool = False) -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        query()
        if broken:
            raise RuntimeError("the stream broke")
        yield b"two"

    return StreamingResponse(chunks())


@app.get("/thread")
def thread() -> None:
    worker = threading.Thread(target=query)
    worker.start()
    worker.join()


@app.get("/own")
def own() -> int:
    """Call the very endpoint that events go to, as a badly instrumented transport would."""
    dsn = os.environ["SENTRY_DSN"].replace("public@", "")
    base, _, project = dsn.rpartition("/")
    return requests.get(f"{base}/api/{project}/envelope/", timeout=5).status_code


@app.get("/log")
async def log() -> None:
    logging.getLogger("service").error("something is wrong")


@app.websocket("/ws/{room}")
async def websocket(socket: WebSocket, room: str) -> None:
    await socket.accept()
    with contextlib.suppress(Exception):
        await socket.send_text(await socket.receive_text() + room)
    await socket.close()


@sub.get("/deep/{x}")
def deep(x: int) -> int:
    query()
    return x


@sub.get("/boom")
def boom() -> None:
    raise ValueError("mounted")


app.mount("/sub", sub)
