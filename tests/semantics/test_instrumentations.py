"""What contrib's instrumentations and FastAPI's own really emit, in every mode."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_sentry.semantics import extra_data, infer, sentry_status

MODES = ("", "http", "database", "http/dup", "database/dup")

_BY_CONTRIB = [
    # scenario, op, description, source, status, some of the data
    ("matched", "http.server", "GET /items/{item_id}", "route", "ok",
     {"http.query": "?colour=red"}),
    ("invalid", "http.server", "GET /items/{item_id}", "route", "invalid_argument", {}),
    ("unmatched", "http.server", "GET /nowhere/7", "url", "not_found", {}),
    ("unknown method", "http.server", "HTTP /items/{item_id}", "route", "invalid_argument", {}),
    ("renamed", "http.server", "checkout", "custom", "ok", {"http.response.status_code": 200}),
    ("exception", "http.server", "GET /boom", "route", "internal_error", {}),
    ("broken stream", "http.server", "GET /broken", "route", "internal_error", {}),
    ("mounted", "http.server", "GET /sub/orders/{number}", "route", "ok", {}),
    ("mounted unknown method", "http.server", "HTTP /sub/stock/{number}", "route",
     "invalid_argument", {}),
    ("host", "http.server", "GET /orders/123", "url", "ok", {"server.address": "tenant.example"}),
    ("cancelled", "http.server", "GET /slow", "route", "cancelled", {}),
    ("websocket", "websocket.server", "/ws/{room}", "route", "ok", {}),
    ("broken websocket", "websocket.server", "/broken-ws/{room}", "route", "internal_error", {}),
    ("unmatched websocket", "websocket.server", "/no/7", "url", "ok", {}),
]  # fmt: skip

_BY_FASTAPI = [
    ("host", "http.server", "GET /orders/{number}", "route", "ok", {}),
    ("unmatched websocket", "websocket.server", "WEBSOCKET", "url", "ok", {}),
    *[row for row in _BY_CONTRIB if row[0] not in {"renamed", "host", "unmatched websocket"}],
]

_USERS = {"http.query": "?page=2", "server.address": "127.0.0.1", "server.port": 8000}
_QUEUE = {"messaging.system": "celery", "messaging.destination.name": "celery"}

_CALLS = [
    ("httpx", "http.client", "GET http://127.0.0.1:8000/users/7", "url", "ok", _USERS),
    ("httpx 503", "http.client", "GET http://127.0.0.1:8000/down", "url", "unavailable", {}),
    ("httpx timeout", "http.client", "GET http://127.0.0.1:8001/mute", "url", "deadline_exceeded",
     {"server.port": 8001}),
    ("requests", "http.client", "GET http://127.0.0.1:8000/users/7", "url", "ok", _USERS),
    ("requests timeout", "http.client", "GET http://127.0.0.1:8001/mute", "url",
     "deadline_exceeded", {}),
    ("urllib3", "http.client", "GET http://127.0.0.1:8000/users/7", "url", "ok", _USERS),
    ("sql", "db", "SELECT 1", "custom", "ok", {"db.system.name": "sqlite"}),
    ("sql error", "db", "SELECT * FROM nothing", "custom", "internal_error", {}),
    ("set", "cache.put", "SET ? ?", "custom", "ok", {"db.system.name": "redis"}),
    ("get", "cache.get", "GET ?", "custom", "ok", {}),
    ("incr", "db.redis", "INCR ?", "custom", "ok", {}),
    ("del", "cache.remove", "DEL ? ?", "custom", "ok", {}),
    ("pipeline", "db.redis", "GET ?\nGET ?", "custom", "ok", {}),
    ("publish", "queue.publish", "shop.pack", "task", "ok",
     {**_QUEUE, "messaging.message.id": "publish"}),
    ("run", "queue.process", "shop.pack", "task", "ok",
     {**_QUEUE, "messaging.message.id": "publish", "messaging.message.retry.count": 0}),
    ("failing run", "queue.process", "shop.pack", "task", "internal_error",
     {**_QUEUE, "messaging.message.retry.count": 2}),
]  # fmt: skip

_NAMED_LATER = {"sql", "sql error", "set", "get", "incr", "del", "pipeline", "renamed"}
_NAMED_LATER |= {"mounted", "mounted unknown method"}


@pytest.fixture(scope="module")
def emitted(redis_url):
    """Return what each mode emits, by scenario."""
    script = Path(__file__).with_name("emit.py")
    command = [sys.executable, "-W", "ignore", str(script), redis_url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = {}
    for line in run.stdout.splitlines():
        mode, _, scenarios = line.partition("\t")
        assert scenarios, run.stderr
        found[json.loads(mode)] = json.loads(scenarios)
    assert set(found) == set(MODES), run.stderr
    return found


def _spans(emitted, mode, scenario):
    return [
        (infer(name, SpanKind[kind], attributes), SpanKind[kind], attributes, status, description)
        for name, kind, attributes, status, description in emitted[mode][scenario]["spans"]
    ]


def _scenarios():
    rows = [pytest.param(*row, id=row[0]) for row in (*_BY_CONTRIB, *_CALLS)]
    native = pytest.mark.skipif(
        find_spec("fastapi.telemetry") is None, reason="this FastAPI has no telemetry of its own"
    )
    rows += [
        pytest.param(f"native {row[0]}", *row[1:], id=f"native {row[0]}", marks=native)
        for row in _BY_FASTAPI
    ]
    return rows


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("scenario", "op", "description", "source", "status", "data"), _scenarios()
)
def test_a_real_span_means_the_same_in_every_mode(
    emitted, mode, scenario, op, description, source, status, data
):
    """What the instrumentation emits is called the same, whichever conventions are on."""
    mine = [span for span in _spans(emitted, mode, scenario) if span[0].description == description]
    assert len(mine) == 1
    meaning, kind, attributes, code, told = mine[0]
    assert (meaning.op, meaning.source) == (op, source)
    assert sentry_status(Status(StatusCode[code], told), attributes) == status
    assert data.items() <= extra_data(kind, attributes).items()


@pytest.mark.parametrize("mode", MODES[1:])
def test_no_mode_changes_any_data(emitted, mode):
    """All data but a port that the test chose at random are those of the old conventions."""

    def data(mode):
        return {
            scenario: [
                extra_data(kind, attributes)
                for _, kind, attributes, _, _ in _spans(emitted, mode, scenario)
            ]
            for scenario in emitted[mode]
        }

    assert data(mode) == data("")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "scenario", [row[0] for row in (*_BY_CONTRIB, *_CALLS) if row[0] not in _NAMED_LATER]
)
def test_the_sampler_already_knows_the_name(emitted, mode, scenario):
    """What contrib sets at a span's start is enough to name requests and tasks."""
    name, kind, attributes = emitted[mode][scenario]["starts"][0]
    names = [span[0].name for span in _spans(emitted, mode, scenario)]
    assert infer(name, SpanKind[kind], attributes).name in names


@pytest.mark.parametrize("scenario", ["matched", "native matched"])
def test_a_background_task_is_named_by_its_function(emitted, scenario):
    """Contrib's and FastAPI's spans of a background task mean the same."""
    if scenario not in emitted[""]:
        pytest.skip("this FastAPI has no telemetry of its own")
    meanings = [span[0][:4] for span in _spans(emitted, "", scenario)]
    assert ("function.background_task", "tidy_up", "tidy_up", "task") in meanings


def test_no_credentials_are_in_a_description(emitted):
    """User and password of an URL stay out of the description, for every library."""
    for scenario in ("httpx", "requests", "urllib3"):
        for meaning, *_ in _spans(emitted, "", scenario):
            assert "secret" not in meaning.description
