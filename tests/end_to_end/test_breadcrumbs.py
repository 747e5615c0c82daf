"""The breadcrumbs of Redis and SQL: those of sentry-sdk's own integrations, without their spans."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, contextlib, json, os, sys

way, redis_url, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
crumbs = []

def before_breadcrumb(crumb, hint):
    if crumb["category"] in {"redis", "query"}:
        crumbs.append([crumb["type"], crumb["category"], crumb["message"], crumb["data"]])
    return crumb

import sentry_sdk
if way == "sentry_sdk":
    sentry_sdk.init("http://key@127.0.0.1:9/1", before_breadcrumb=before_breadcrumb, **options)
elif way == "otel_sentry":
    import otel_sentry
    otel_sentry.init("http://key@127.0.0.1:9/1", before_breadcrumb=before_breadcrumb, **options)
elif way == "both":
    import otel_sentry
    sentry_sdk.init("http://key@127.0.0.1:9/1", before_breadcrumb=before_breadcrumb, **options)
    otel_sentry.init()

import redis, redis.asyncio
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, select, text

store = redis.Redis.from_url(redis_url)
store.set("price:1", "secret", ex=60)
store.get("price:1")
store.get(b"price:1")
store.mget("price:1", "price:2")
store.mget("price:1")
store.execute_command("get", "price:1")
store.lpush("queue", *range(20))
store.ping()
store.delete("price:1", "queue")
for wrong in (("AUTH", "user", "password"), ("LPOP", "a", "b")):
    with contextlib.suppress(redis.RedisError):
        store.execute_command(*wrong)
for transaction in (True, False):
    with store.pipeline(transaction=transaction) as pipeline:
        pipeline.set("a", 1).get("a").delete("a").execute()

async def asynchronously():
    store = redis.asyncio.Redis.from_url(redis_url)
    await store.get("price:1")
    async with store.pipeline() as pipeline:
        await pipeline.get("a").execute()
    await store.aclose()

asyncio.run(asynchronously())

items = Table("items", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))
with create_engine("sqlite://").connect() as connection:
    items.create(connection)
    connection.execute(insert(items), [{"name": "pen"}, {"name": "ink"}])
    connection.execute(select(items).where(items.c.name == "pen"))
    with contextlib.suppress(Exception):
        connection.execute(text("SELECT * FROM nowhere WHERE id = :id"), {"id": 7})

client = sentry_sdk.get_client()
print(json.dumps({
    "crumbs": json.loads(json.dumps(crumbs, default=repr)),
    "integrations": [client.get_integration(it) is not None for it in ("redis", "sqlalchemy")],
}))
sys.stdout.flush()
os._exit(0)
"""

OPTIONS = {
    "as it comes": {},
    "personal data": {"send_default_pii": True},
    "parameters": {"_experiments": {"record_sql_params": True}},
    "data collection": {"data_collection": {"database_query_data": True}},
}


def crumbs_of(way, redis_url, options, **environ):
    """Return what a program that is set up in some way leaves."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, way, redis_url, json.dumps(options)],
        env=os.environ | {"SENTRY_TRACES_SAMPLE_RATE": "0", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_same_as_sentry_sdk(redis_url, options):
    """Kinds, messages and data are the same, in the same order; its integrations are out of use."""
    theirs = crumbs_of("sentry_sdk", redis_url, options)
    ours = crumbs_of("otel_sentry", redis_url, options)

    assert theirs["integrations"] == [True, True]
    assert len(theirs["crumbs"]) == 19
    assert ours["crumbs"] == theirs["crumbs"]
    assert ours["integrations"] == [False, False]


def test_less_data_collection(redis_url):
    """Where the application collects no data of queries values are not told, only their number."""
    options = {"data_collection": {"database_query_data": False}}
    theirs = crumbs_of("sentry_sdk", redis_url, options)["crumbs"]
    ours = crumbs_of("otel_sentry", redis_url, options)["crumbs"]

    assert ours[0][2] == "SET 'price:1' [Filtered] [Filtered] [Filtered]"
    without = [[kind, of, text.replace(" [Filtered]", ""), data] for kind, of, text, data in ours]
    authentication = next(text for _, _, text, _ in without if text.startswith("AUTH"))
    assert authentication == "AUTH"
    assert [it for it in without if it[2] != "AUTH"] == [
        it for it in theirs if not it[2].startswith("AUTH")
    ]


def test_a_client_of_the_application(redis_url):
    """A client that the application makes itself leaves each breadcrumb once, too."""
    theirs = crumbs_of("sentry_sdk", redis_url, {})
    ours = crumbs_of("both", redis_url, {})

    assert ours == {"crumbs": theirs["crumbs"], "integrations": [False, False]}


@pytest.mark.parametrize("way", ["otel_sentry", "both"])
def test_an_application_that_wants_none(redis_url, way):
    """Where the application switches sentry-sdk's integrations off there are none from us."""
    ours = crumbs_of(way, redis_url, {"auto_enabling_integrations": False})

    assert ours == {"crumbs": [], "integrations": [False, False]}


@pytest.mark.parametrize("way", ["otel_sentry", "both"])
def test_what_opentelemetry_does_not_instrument(redis_url, way):
    """Where an instrumentation is switched off sentry-sdk's integration stays in use."""
    theirs = crumbs_of("sentry_sdk", redis_url, {})
    off = "redis,sqlalchemy"
    ours = crumbs_of(way, redis_url, {}, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=off)

    assert ours == theirs
