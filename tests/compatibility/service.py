"""The application of every row: a request that touches everything, errors, a task that fails."""

from __future__ import annotations

import os

import redis
import sentry_sdk
from celery import Celery
from fastapi import FastAPI
from sqlalchemy import create_engine, text

if "CORE_OWN_CLIENT" in os.environ:  # in the worker: an application that has used Sentry before
    sentry_sdk.init(os.environ["SENTRY_DSN"], traces_sample_rate=1.0)

REDIS_URL = os.environ["CORE_REDIS_URL"]
SECRET = "core-" + "secret"  # in two parts: Sentry shows the source of frames

app = FastAPI()
engine = create_engine("sqlite://")
cache = redis.Redis.from_url(REDIS_URL)
queue = Celery("core", broker=REDIS_URL, backend=REDIS_URL)
queue.conf.broker_connection_retry_on_startup = True


def query(number: int) -> None:
    with engine.connect() as connection:
        connection.execute(text(f"SELECT {number} WHERE '{SECRET}' <> ''"))


@queue.task(name="core.work")
def work(number: int) -> int:
    query(number)
    return number


@queue.task(name="core.fail")
def fail_later(password: str) -> None:
    raise ValueError(f"no password={password}")


@app.get("/orders/{number}")
def order(number: int) -> int:
    sentry_sdk.set_tag("order", str(number))
    query(number)
    cache.set(f"order:{number}", SECRET)
    cache.get(f"order:{number}")
    work.delay(number)
    fail_later.delay(SECRET)
    return number


@app.get("/fail")
async def fail(password: str = "") -> None:
    token = password
    raise ValueError(f"no token={token}")
