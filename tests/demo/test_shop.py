from __future__ import annotations

import ast
import json
import urllib.request
from pathlib import Path

import pytest
import redis

import otel_sentry.demo
from otel_sentry.cli._demo_shop import run_shop
from otel_sentry.cli._demo_visit import visit, wait_for_order
from tests.servers import postgres_server, redis_server

_SHOP = Path(otel_sentry.demo.__file__).parent
_ORDINARY = {"__future__", "celery", "collections", "contextlib", "fastapi", "json", "os"}
_ORDINARY |= {"pydantic", "redis", "sqlalchemy", "typing"}


@pytest.mark.parametrize("path", sorted(_SHOP.glob("*.py")), ids=lambda path: path.name)
def test_the_shop_knows_nothing_of_observability(path):
    """No module of the shop imports sentry_sdk, opentelemetry or anything of otel_sentry's."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, "a relative import leaves the shop"
    assert imported <= _ORDINARY


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    if request.param == "sqlite":
        yield None
        return
    with postgres_server() as url:
        yield url


@pytest.fixture
def redis_url():
    with redis_server() as url:
        yield url


@pytest.mark.end_to_end
def test_the_shop_works_without_the_launcher(tmp_path, redis_url, database_url):
    """Plain uvicorn and Celery take an order, try its receipt again, and pack it."""
    statuses = {}
    base = redis_url.rpartition("/")[0]
    with run_shop(tmp_path, redis_url=base, database_url=database_url, settings={}) as shop:
        order = visit(shop.url, statuses.__setitem__)
        assert statuses == {
            "GET /items": 200,
            "POST /orders": 201,
            "GET /items/1": 200,
            "POST /stock/sync": 202,
            "GET /report": 500,
        }
        assert wait_for_order(shop.url, order)
        # pack_order has dropped the cached item, so this reads the table, and caches again.
        with urllib.request.urlopen(f"{shop.url}/items/1") as response:
            item = json.load(response)
        assert item == {"id": 1, "name": "Teapot", "price_cents": 2490, "stock": 10}
        log = (tmp_path / "worker.log").read_text()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert json.loads(client.get("item:1")) == item
    assert "shop.send_receipt" in log
    assert "Retry in 1s: ConnectionError" in log
    assert "raised unexpected: KeyError('in_stock')" in log
    assert "opentelemetry" not in log
