from __future__ import annotations

import warnings

import pytest
from opentelemetry.trace import SpanKind

from otel_sentry.scrubbing import Scrubber
from otel_sentry.semantics import extra_data
from tests.semantics.tables import CLIENT, CONSUMER, INTERNAL, PRODUCER, ROWS, SERVER

with warnings.catch_warnings():
    # The package warns about its own deprecated names when it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from sentry_conventions.attributes import ATTRIBUTE_METADATA

TABLE = [
    pytest.param(
        SERVER,
        {"http.method": "GET", "http.status_code": 200, "http.target": "/a?x=1",
         "http.host": "shop.example:8000", "net.host.port": 8000, "net.peer.port": 5},
        {"http.request.method": "GET", "http.response.status_code": 200, "url.path": "/a",
         "url.query": "x=1", "server.address": "shop.example", "server.port": 8000},
        {"http.request.method": "GET", "http.response.status_code": 200, "http.query": "?x=1",
         "server.address": "shop.example", "server.port": 8000},
        id="http server",
    ),
    pytest.param(
        CLIENT,
        {"http.method": "GET", "http.status_code": "503",
         "http.url": "http://u:p@[::1]:8000/a?x=1#y"},
        {"http.request.method": "GET", "http.response.status_code": 503,
         "url.full": "http://[::1]:8000/a?x=1#y", "server.address": "::1", "server.port": 8000},
        {"http.request.method": "GET", "http.response.status_code": 503, "http.query": "?x=1",
         "http.fragment": "#y", "server.address": "::1", "server.port": 8000},
        id="http client",
    ),
    pytest.param(
        CLIENT,
        {"http.method": "GET", "http.url": "https://api.example/a"},
        {"http.request.method": "GET", "url.full": "https://api.example/a", "url.fragment": "",
         "server.address": "api.example"},
        {"http.request.method": "GET", "server.address": "api.example"},
        id="http client without port",
    ),
    pytest.param(
        INTERNAL, {"http.method": "GET", "http.host": "h:80", "net.peer.name": "client"},
        {"http.request.method": "GET", "server.address": "h", "client.address": "client"},
        {"http.request.method": "GET", "server.address": "h"}, id="request inside a request",
    ),
    pytest.param(
        CLIENT,
        {"db.system": "redis", "db.name": "0", "net.peer.name": "cache", "net.peer.port": 6379},
        {"db.system.name": "redis", "db.namespace": "0", "server.address": "cache",
         "server.port": 6379},
        {"db.system.name": "redis", "db.namespace": "0", "server.address": "cache",
         "server.port": 6379},
        id="database",
    ),
    pytest.param(
        PRODUCER,
        {"messaging.system": "kafka", "messaging.destination": "orders",
         "messaging.message_id": "m1", "messaging.message_payload_size_bytes": 12},
        {"messaging.system": "kafka", "messaging.destination.name": "orders",
         "messaging.message.id": "m1", "messaging.message.body.size": 12},
        {"messaging.system": "kafka", "messaging.destination.name": "orders",
         "messaging.message.id": "m1", "messaging.message.body.size": 12},
        id="producer",
    ),
    pytest.param(
        CONSUMER,
        {"celery.action": "run", "celery.task_name": "pack", "messaging.destination": "celery",
         "messaging.message.id": "m1", "messaging.message.receive.latency": 12.5},
        None,
        {"messaging.system": "celery", "messaging.destination.name": "celery",
         "messaging.message.id": "m1", "messaging.message.retry.count": 0,
         "messaging.message.receive.latency": 12.5},
        id="celery, first run",
    ),
    pytest.param(
        CONSUMER,
        {"celery.action": "run", "celery.retries": 2, "messaging.system": "redis",
         "messaging.message.receive.latency": float("inf")},
        None, {"messaging.system": "redis", "messaging.message.retry.count": 2},
        id="celery, third run of a broker that a hook knows",
    ),
    pytest.param(
        PRODUCER, {"celery.action": "apply_async", "messaging.message.id": "m1",
                   "messaging.message.receive.latency": "soon"}, None,
        {"messaging.system": "celery", "messaging.message.id": "m1"}, id="celery, published",
    ),
    pytest.param(
        CLIENT,
        {"gen_ai.system": "openai", "gen_ai.usage.prompt_tokens": 7,
         "gen_ai.usage.completion_tokens": 3},
        {"gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 7,
         "gen_ai.usage.output_tokens": 3},
        {"gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 7,
         "gen_ai.usage.output_tokens": 3, "gen_ai.usage.total_tokens": 10},
        id="generative ai",
    ),
    pytest.param(
        INTERNAL, {"gen_ai.operation.name": "execute_tool"}, None, {}, id="a tool has no tokens",
    ),
    pytest.param(
        CLIENT, {"rpc.system": "grpc"}, {"rpc.system.name": "grpc"}, {"rpc.system.name": "grpc"},
        id="rpc",
    ),
    pytest.param(INTERNAL, {"shop.cart": 7}, None, {}, id="internal"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "old", "new", "expected"), TABLE)
def test_pages_read_the_same_data_from_old_and_new_conventions(kind, old, new, expected):
    """Each key comes under today's name, with the kind of the span as a word."""
    expected = {"sentry.kind": kind.name.lower(), **expected}
    assert extra_data(kind, old) == expected
    assert new is None or extra_data(kind, new) == expected


def test_each_name_is_one_of_sentrys_and_not_deprecated():
    """Sentry's conventions have every key that any row of any table gives, as today's name."""
    spans = [(param.values[0], one) for param in TABLE for one in param.values[1:3] if one]
    spans += [(row.kind, one) for row in ROWS for one in (row.old, row.new) if one]
    keys = {key for kind, attributes in spans for key in extra_data(kind, attributes)}
    assert {key for key in keys if key not in ATTRIBUTE_METADATA} == set()
    assert {key for key in keys if ATTRIBUTE_METADATA[key].deprecation} == set()


def test_the_query_that_leaves_the_description_is_scrubbed():
    """A token in a query or a fragment is data, and the scrubber knows where."""
    url = "http://api.example/?token=sesame&page=2#access_token=sesame"
    data = extra_data(SpanKind.CLIENT, {"http.request.method": "GET", "url.full": url})
    assert "sesame" in data["http.query"]
    assert "sesame" not in str(Scrubber().attributes(data))
