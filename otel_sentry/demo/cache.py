"""The shop's cache: items in Redis for a minute, and the till."""

from __future__ import annotations

import json
import os
from typing import Any, cast

import redis

REDIS_URL = os.environ.get("SHOP_REDIS_URL") or "redis://localhost:6379/0"
_TTL_SECONDS = 60

_client = redis.Redis.from_url(REDIS_URL, decode_responses=True)


def read_item(item_id: int) -> dict[str, Any] | None:
    """Return the cached item, or None."""
    cached = cast("str | None", _client.get(_key(item_id)))
    return None if cached is None else json.loads(cached)


def write_item(item_id: int, item: dict[str, Any]) -> None:
    """Keep the item for a minute."""
    _client.setex(_key(item_id), _TTL_SECONDS, json.dumps(item))


def forget_item(item_id: int) -> None:
    """Drop the item, because its stock has changed."""
    _client.delete(_key(item_id))


def add_to_till(cents: int) -> None:
    """Add a payment to the day's takings."""
    _client.incrby("till:cents", cents)


def _key(item_id: int) -> str:
    return f"item:{item_id}"
