"""
Run the real instrumentations in each mode of OTEL_SEMCONV_STABILITY_OPT_IN; print what they emit.

Not a test: ``test_instrumentations.py`` starts it. A process reads the mode once, so each mode is a
fork of a process that has imported everything and instrumented nothing. A child prints one JSON
line: what each span knows at its start (``starts``) and at its end (``spans``), by scenario.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fastapi
import httpx
import redis
import requests
import sqlalchemy
import urllib3
from celery import Celery
from celery.app.trace import trace_task
from fastapi import BackgroundTasks, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from starlette.endpoints import HTTPEndpoint
from starlette.websockets import WebSocketDisconnect

import otel_sentry.instrumentation.fastapi
import otel_sentry.instrumentation.sqlalchemy

MODES = ("", "http", "database", "http/dup", "database/dup")


class Witness(Sampler):
    """Keeps every span, and remembers what is known of it when the sampler decides."""

    def __init__(self):
        self.starts = []

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, *_, **__):
        self.starts.append([name, (kind or trace.SpanKind.INTERNAL).name, dict(attributes or {})])
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self):
        return "Witness"


class Stock(HTTPEndpoint):
    """Asked with any method, its route fits."""

    async def get(self, request):
        """Answer nothing."""


class Quiet(BaseHTTPRequestHandler):
    """Answers 204, or 503 below ``/down``."""

    def do_GET(self):
        self.send_response(503 if self.path.startswith("/down") else 204)
        self.end_headers()

    def log_message(self, *_):
        pass


def shop():
    """Return an application with every kind of route that names a span differently."""
    app = fastapi.FastAPI()

    @app.get("/items/{item_id}")
    def item(item_id: int, tasks: BackgroundTasks):
        tasks.add_task(tidy_up)
        return item_id

    @app.get("/renamed")
    def renamed():
        trace.get_current_span().update_name("checkout")

    @app.get("/boom")
    def boom():
        raise LookupError

    @app.get("/broken")
    def broken():
        def body():
            yield b"half"
            raise ConnectionError

        return StreamingResponse(body())

    @app.get("/slow")
    async def slow():
        await asyncio.sleep(60)

    @app.websocket("/ws/{room}")
    async def room(websocket: WebSocket, room: str):
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.receive_text()

    @app.websocket("/broken-ws/{room}")
    async def broken_room(websocket: WebSocket, room: str):
        await websocket.accept()
        raise LookupError

    tenant = fastapi.FastAPI()

    @tenant.get("/orders/{number}")
    def order(number: int):
        return number

    tenant.add_route("/stock/{number}", Stock)
    app.host("tenant.example", tenant)
    app.mount("/sub", tenant)
    return app


def tidy_up():
    """Run after the response."""


async def cancelled(app):
    """Cancel the task that serves a request, as servers do when the client goes away."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(client.get("/slow"), 0.05)


def serve(app, record):
    """Send the requests that servers are named by."""
    client = TestClient(app, raise_server_exceptions=False, base_url="http://shop.example")
    for scenario, method, path in (
        ("matched", "GET", "/items/5?colour=red"),
        ("invalid", "GET", "/items/five"),
        ("unmatched", "GET", "/nowhere/7"),
        ("unknown method", "BREW", "/items/5"),
        ("renamed", "GET", "/renamed"),
        ("exception", "GET", "/boom"),
        ("broken stream", "GET", "/broken"),
        ("mounted", "GET", "/sub/orders/123"),
        ("mounted unknown method", "BREW", "/sub/stock/123"),
        ("host", "GET", "http://tenant.example/orders/123"),
    ):
        with record(scenario), contextlib.suppress(ConnectionError):
            client.request(method, path)
    with record("websocket"), client.websocket_connect("/ws/7"):
        pass
    for scenario, path in (("broken websocket", "/broken-ws/7"), ("unmatched websocket", "/no/7")):
        with (
            record(scenario),
            contextlib.suppress(Exception),
            client.websocket_connect(path) as websocket,
        ):
            websocket.receive_text()
    with record("cancelled"):
        asyncio.run(cancelled(app))


def call(record):
    """Call a server with three libraries; the last one does not answer in time."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    silent = socket.create_server(("127.0.0.1", 0))
    base = f"http://user:secret@127.0.0.1:{server.server_port}"
    mute = f"http://127.0.0.1:{silent.getsockname()[1]}/mute"
    HTTPXClientInstrumentor().instrument()
    RequestsInstrumentor().instrument()
    URLLib3Instrumentor().instrument()
    with record("httpx"):
        httpx.get(f"{base}/users/7?page=2")
    with record("httpx 503"):
        httpx.get(f"{base}/down")
    with record("httpx timeout"), contextlib.suppress(httpx.TimeoutException):
        httpx.get(mute, timeout=0.05)
    with record("requests"):
        requests.get(f"{base}/users/7?page=2", timeout=5)
    with record("requests timeout"), contextlib.suppress(requests.Timeout):
        requests.get(mute, timeout=0.05)
    with record("urllib3"):
        urllib3.PoolManager().request("GET", f"{base}/users/7?page=2")
    server.shutdown()
    return {str(server.server_port): "8000", str(silent.getsockname()[1]): "8001"}


def query(record):
    """Talk to a SQLite database."""
    otel_sentry.instrumentation.sqlalchemy.instrument(SQLAlchemyInstrumentor())
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        with record("sql"):
            connection.execute(sqlalchemy.text("SELECT 1"))
        with record("sql error"), contextlib.suppress(sqlalchemy.exc.OperationalError):
            connection.execute(sqlalchemy.text("SELECT * FROM nothing"))


def cache(redis_url, record):
    """Talk to a Redis."""
    RedisInstrumentor().instrument()
    client = redis.Redis.from_url(redis_url)
    for scenario, command in (
        ("set", ("SET", "otel-sentry:cart", "milk")),
        ("get", ("GET", "otel-sentry:cart")),
        ("incr", ("INCR", "otel-sentry:hits")),
        ("del", ("DEL", "otel-sentry:cart", "otel-sentry:hits")),
    ):
        with record(scenario):
            client.execute_command(*command)
    with record("pipeline"):
        client.pipeline().get("otel-sentry:cart").get("otel-sentry:hits").execute()
    client.close()


def work(record):
    """Publish a task to a broker in memory, and run it as a worker does."""
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    CeleryInstrumentor().instrument()

    @app.task(name="shop.pack", bind=True)
    def pack(self, fails):
        if fails:
            raise LookupError

    for scenario, fails in (("publish", False), ("publish again", True)):
        with record(scenario):
            pack.apply_async((fails,), task_id=scenario)
    with app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
        for scenario in ("run", "failing run"):
            message = queue.get(block=False)
            arguments, options, _ = message.payload
            request = {**message.headers, "delivery_info": message.delivery_info}
            request["retries"] = 2 if scenario == "failing run" else 0
            with record(scenario):
                trace_task(pack, request["id"], arguments, options, request=request, app=app)


def emit(mode, redis_url):
    """Return everything that is emitted in a mode."""
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = mode
    witness, exporter = Witness(), InMemorySpanExporter()
    provider = TracerProvider(sampler=witness)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    native_provider = TracerProvider(sampler=witness)
    native_provider.add_span_processor(SimpleSpanProcessor(exporter))
    found = {}

    @contextlib.contextmanager
    def record(scenario, prefix=""):
        yield
        found[prefix + scenario] = {
            "starts": list(witness.starts),
            "spans": [as_json(span) for span in exporter.get_finished_spans()],
        }
        witness.starts.clear()
        exporter.clear()

    # Before there is a global provider: FastAPI would emit spans of its own for contrib's, too.
    native = shop()
    if hasattr(native, "_telemetry"):
        native._telemetry["tracer_provider"] = native_provider
        serve(native, lambda scenario: record(scenario, "native "))
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor().instrument(**otel_sentry.instrumentation.fastapi.options())
    serve(shop(), record)
    query(record)
    cache(redis_url, record)
    work(record)
    return found, call(record)


def as_json(span):
    """Return the fields that the semantics read."""
    return [
        span.name,
        span.kind.name,
        dict(span.attributes),
        span.status.status_code.name,
        span.status.description,
    ]


def main():
    """Fork once a mode, print the children's lines in the order of the modes."""
    outputs = []
    for mode in MODES:
        read, write = os.pipe()
        if os.fork() == 0:
            found, ports = emit(mode, sys.argv[1])
            line = json.dumps(found)
            for port, stand_in in ports.items():
                line = line.replace(port, stand_in)
            with os.fdopen(write, "w") as output:
                output.write(line)
            os._exit(0)
        os.close(write)
        outputs.append(read)
    for mode, output in zip(MODES, outputs, strict=True):
        with os.fdopen(output) as lines:
            sys.stdout.write(f"{json.dumps(mode)}\t{lines.read()}\n")


if __name__ == "__main__":
    main()
