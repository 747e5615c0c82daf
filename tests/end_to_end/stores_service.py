"""A FastAPI service whose database and cache fail in every way, without observability code."""

from __future__ import annotations

import os

import redis.asyncio
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

from otel_sentry.cli._demo_processes import free_port

app = FastAPI()

CARD = {"id": 1, "password": os.environ["SECRET"]}
INSERT = text("INSERT INTO cards (id, password) VALUES (:id, :password)")
nowhere = f"127.0.0.1:{free_port()}"

sqlite = create_engine("sqlite://")
refused = create_engine(f"postgresql+psycopg://shop:{CARD['password']}@{nowhere}/shop")
small = create_engine(
    "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1
)
async_sqlite = create_async_engine("sqlite+aiosqlite://")
async_refused = create_async_engine(f"postgresql+psycopg://shop:x@{nowhere}/shop")

cache = redis.Redis.from_url(os.environ["JOBS_REDIS_URL"])
slow = redis.Redis.from_url(os.environ["JOBS_REDIS_URL"], socket_timeout=0.1, retry=None)
gone = redis.Redis.from_url(f"redis://{nowhere}/0", retry=None)
async_cache = redis.asyncio.Redis.from_url(os.environ["JOBS_REDIS_URL"])
async_gone = redis.asyncio.Redis.from_url(f"redis://{nowhere}/0", retry=None)


@app.get("/sql/refused")
def sql_refused() -> None:
    refused.connect()


@app.get("/sql/pool")
def sql_pool() -> None:
    with small.connect(), small.connect():
        """Never runs."""


@app.get("/sql/integrity")
def sql_integrity() -> None:
    with sqlite.connect() as connection:
        connection.execute(text("CREATE TABLE cards (id INTEGER PRIMARY KEY, password TEXT)"))
        connection.execute(INSERT, CARD)
        connection.execute(INSERT, CARD)


@app.get("/sql/statement")
def sql_statement() -> None:
    with sqlite.connect() as connection:
        connection.execute(text(f"SELECT 1 FROM nowhere WHERE note = '{CARD['password']}'"))


@app.get("/async/refused")
async def async_sql_refused() -> None:
    async with async_refused.connect():
        """Never runs."""


@app.get("/async/integrity")
async def async_sql_integrity() -> None:
    async with async_sqlite.connect() as connection:
        await connection.execute(text("CREATE TABLE cards (id INTEGER PRIMARY KEY, password TEXT)"))
        await connection.execute(INSERT, CARD)
        await connection.execute(INSERT, CARD)


@app.get("/redis/refused")
def redis_refused() -> None:
    gone.get("cart")


@app.get("/redis/timeout")
def redis_timeout() -> None:
    slow.blpop(["empty"], timeout=5)


@app.get("/redis/wrongtype")
def redis_wrongtype() -> None:
    cache.set("session", CARD["password"])
    cache.lpush("session", CARD["password"])


@app.get("/redis/pipeline")
def redis_pipeline() -> None:
    cache.set("session", CARD["password"])
    with cache.pipeline() as pipeline:
        pipeline.lpush("session", CARD["password"])
        pipeline.execute()


@app.get("/async-redis/refused")
async def async_redis_refused() -> None:
    await async_gone.get("cart")


@app.get("/async-redis/wrongtype")
async def async_redis_wrongtype() -> None:
    await async_cache.set("session", CARD["password"])
    await async_cache.lpush("session", CARD["password"])


@app.get("/wrapped")
def wrapped() -> None:
    try:
        gone.get("cart")
    except redis.ConnectionError as error:
        raise LookupError("no cart") from error
