"""A running receiver, and the ways to send to it."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

import pytest

from otel_sentry.cli.tail.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def post(receiver: Receiver) -> Callable[..., tuple[int, bytes]]:
    """Post bytes to the receiver; return the status and the body of the answer."""

    def send(path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, names)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    return send


@pytest.fixture
def envelope() -> Callable[..., bytes]:
    """Build an envelope of (type, payload) pairs, each with its length."""

    def build(*items: tuple[str, object], event_id: str = "e" * 32) -> bytes:
        lines = [json.dumps({"event_id": event_id}).encode()]
        for kind, payload in items:
            data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            lines += [json.dumps({"type": kind, "length": len(data)}).encode(), data]
        return b"\n".join(lines) + b"\n"

    return build
