"""Be the shop's customer, owner and supplier for a few requests."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DEADLINE_SECONDS = 10.0
_POLL_SECONDS = 0.5

# Made up, and of no use anywhere; none of them may arrive at the far end.
SECRETS = {
    "Authorization header": "sk_demo_4eC39HqLyjWDarjtT1zdp7dc",
    "password in the order": "correct-horse-battery-staple",
    "token in the address": "9f86d081884c7d659a2feaa0c55ad015",
}

# A proxy of the user's must not get between us and the shop.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def visit(url: str, say: Callable[[str, int], None]) -> int | None:
    """
    Make the demo's requests.

    Args:
        url: The shop's address.
        say: Is told of each request and the status that it got.

    Returns:
        The number of the order, or None if it was refused.
    """
    bearer = {"Authorization": f"Bearer {SECRETS['Authorization header']}"}
    order = {
        "item_id": 1,
        "quantity": 2,
        "email": "ada@example.com",
        "password": SECRETS["password in the order"],
    }
    token = SECRETS["token in the address"]
    say("GET /items", _send(url, "GET", "/items")[0])
    status, placed = _send(url, "POST", "/orders", body=order, headers=bearer)
    say("POST /orders", status)
    say("GET /items/1", _send(url, "GET", "/items/1")[0])
    say("POST /stock/sync", _send(url, "POST", "/stock/sync", headers=bearer)[0])
    say("GET /report", _send(url, "GET", f"/report?token={token}", headers=bearer)[0])
    return int(placed["order_id"]) if placed else None


def wait_for_order(url: str, order_id: int) -> bool:
    """Wait until the worker is done with the order; tell whether it is."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        _, order = _send(url, "GET", f"/orders/{order_id}")
        if order and order["receipt_sent"] and order["status"] == "packed":
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _send(
    url: str,
    method: str,
    path: str,
    *,
    body: dict[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    request = urllib.request.Request(  # noqa: S310 - the address is our own
        url + path,
        method=method,
        headers={"Content-Type": "application/json", **(headers or {})},
        data=None if body is None else json.dumps(body).encode(),
    )
    try:
        with _opener.open(request, timeout=_DEADLINE_SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
