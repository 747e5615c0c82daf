from __future__ import annotations

import os
import random
import uuid

import pytest
import sentry_sdk.session
import sentry_sdk.tracing_utils

from otel_sentry import _ids
from otel_sentry._ids import lend_to_sentry_sdk, uuid4
from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import by_name
from tests.end_to_end.test_backends import run_script
from tests.forks import forks, in_child


def test_random_ids():
    """Each is a UUID of version 4, whatever the application seeds its own random numbers with."""
    random.seed(0)
    first = uuid4()
    random.seed(0)
    second = uuid4()

    assert first != second
    for one in (first, second):
        assert uuid.UUID(one.hex) == one
        assert one.version == 4
        assert one.variant == uuid.RFC_4122


@forks
def test_a_forked_process_has_ids_of_its_own():
    """Processes that were one do not go on with the same numbers."""
    child = in_child(lambda: uuid4().hex)

    assert len(child) == 32
    assert child != uuid4().hex


@pytest.fixture
def kernel(monkeypatch):
    """Return what the kernel was asked for; sentry-sdk is as it was imported."""
    asked = []
    ask = os.urandom
    monkeypatch.setattr(os, "urandom", lambda size: asked.append(size) or ask(size))
    for name in _ids._MODULES:
        module = getattr(sentry_sdk, name, None)
        if hasattr(module, "uuid"):
            monkeypatch.setattr(module, "uuid", uuid)
    return asked


def test_ids_of_sentry_sdk(kernel):
    """It makes sessions and trace ids without the kernel; the application's uuid4() is its own."""
    lend_to_sentry_sdk()
    lend_to_sentry_sdk()
    sessions = [sentry_sdk.session.Session() for _ in range(2)]
    contexts = [sentry_sdk.tracing_utils.PropagationContext() for _ in range(2)]
    assert kernel == []

    assert len({session.sid for session in sessions}) == 2
    assert all(session.sid.version == 4 for session in sessions)
    assert sentry_sdk.session.Session(sid="1" * 32).sid == uuid.UUID("1" * 32)
    assert len({int(context.trace_id, 16) for context in contexts}) == 2
    assert len({int(context.span_id, 16) for context in contexts}) == 2
    uuid.uuid4()
    assert kernel == [16]


def test_a_version_that_makes_its_ids_otherwise(kernel, monkeypatch):
    """What another version has in that place, or has not, stays as it is."""
    monkeypatch.setattr(sentry_sdk.session, "uuid", "its own")
    monkeypatch.setattr(_ids, "_MODULES", ("session", "no_such_module"))
    lend_to_sentry_sdk()
    assert sentry_sdk.session.uuid == "its own"


REQUEST = """
import asyncio, os, time
from fastapi import FastAPI
app = FastAPI()
asked = []

@app.get("/items/{item_id}")
async def item(item_id: int):
    return item_id

async def call():
    waiting = [{"type": "http.request", "body": b"", "more_body": False}]
    async def receive():
        return waiting.pop() if waiting else await asyncio.sleep(60)
    async def send(message):
        pass
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
             "method": "GET", "path": "/items/3", "raw_path": b"/items/3", "query_string": b"",
             "root_path": "", "headers": [(b"host", b"shop.example")],
             "client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 80), "state": {}}
    await app(scope, receive, send)

asyncio.run(call())
ask = os.urandom
os.urandom = lambda size: asked.append(size) or ask(size)
asyncio.run(call())
os.urandom = ask
assert asked == [], asked
"""


def test_a_request_does_not_wait_for_ids():
    """A request under the launcher asks the kernel for no random number."""
    with Receiver() as receiver:
        _, stderr = run_script(receiver, REQUEST)

        assert stderr == ""
        assert len(by_name(receiver, "GET /items/{item_id}")) == 2
