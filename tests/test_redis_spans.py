"""What our hooks say on the span of a Redis command: whether the cache had it, whose key it is."""

from __future__ import annotations

import pytest
import redis
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_sentry.instrumentation.redis import _on_request, _on_response
from otel_sentry.semantics import infer
from otel_sentry.semantics.noise import MARK


@pytest.fixture
def ask(redis_url):
    """Return what sends a command to a real Redis and returns its span."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with redis.Redis.from_url(f"{redis_url.rpartition('/')[0]}/7") as client:
        client.flushdb()
        client.mset({"full": "abc", "more": "de"})
        RedisInstrumentor.instrument_client(
            client, provider, request_hook=_on_request, response_hook=_on_response
        )

        def ask(*command):
            client.execute_command(*command)
            [span] = exporter.get_finished_spans()
            exporter.clear()
            return span

        yield ask


@pytest.mark.parametrize(
    ("command", "hit", "size"),
    [
        (("GET", "full"), True, 3),
        (("GET", "empty"), False, None),
        (("get", "full"), True, 3),
        (("GETEX", "full"), True, 3),
        (("GETDEL", "full"), True, 3),
        (("GETDEL", "empty"), False, None),
        (("MGET", "full", "empty", "more"), True, 5),
        (("mget", "empty"), False, None),
    ],
)
def test_what_a_read_found(ask, command, hit, size):
    """Each command that reads a value says whether there was one, and how large."""
    span = ask(*command)
    assert infer(span.name, span.kind, span.attributes).op == "cache.get"
    assert span.attributes["cache.hit"] is hit
    assert span.attributes.get("cache.item_size") == size


@pytest.mark.parametrize("command", [("SET", "full", "x"), ("INCR", "counter"), ("DEL", "full")])
def test_a_command_that_reads_nothing(ask, command):
    """Of a command that is no read nobody asks whether it found anything."""
    assert not [key for key in ask(*command).attributes if key.startswith("cache.")]


@pytest.mark.parametrize(
    ("key", "is_plumbing"),
    [
        ("celery-task-meta-7", True),
        ("_kombu.binding.celery", True),
        ("unacked", True),
        ("unacked_index", True),
        ("unacked_mutex", True),
        ("unacked_orders", False),
        ("unacknowledged", False),
        ("cart", False),
    ],
)
@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
def test_keys_of_celery(ask, key, is_plumbing, kind):
    """The keys of Celery and kombu are plumbing; one that begins alike is not."""
    assert (MARK in ask("EXISTS", kind(key)).attributes) is is_plumbing
