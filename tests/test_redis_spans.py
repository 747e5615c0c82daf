"""What our hooks say on the span of a Redis command: whether the cache had it, whose key it is."""

from __future__ import annotations

import pytest
import redis
from opentelemetry.instrumentation._semconv import _StabilityMode
from opentelemetry.instrumentation.redis import RedisInstrumentor, util
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_sentry.instrumentation.redis import (
    _MAX_CONNECTIONS,
    _on_request,
    _on_response,
    _remember_connections,
)
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


@pytest.fixture
def extract(monkeypatch):
    """Return contrib's function, and ours in its place; each call of contrib's is counted."""
    original = getattr(util._extract_conn_attributes, "__wrapped__", util._extract_conn_attributes)
    calls = []

    def contribs(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(util, "_extract_conn_attributes", contribs)
    _remember_connections()
    return original, util._extract_conn_attributes, calls


@pytest.mark.parametrize("mode", list(_StabilityMode))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"db": None, "host": "a", "port": 6380},
        {"db": 0, "host": "a"},
        {"db": 3, "host": "b", "port": 6380, "password": "x"},
        {"path": "/tmp/redis.sock", "db": 1},
        {"path": None},
        {"host": ["not", "hashable"]},
    ],
    ids=str,
)
def test_what_is_said_of_a_connection_is_contribs(extract, options, mode):
    """Asked again, and after all the others, it says what contrib says."""
    original, ours, calls = extract
    for _ in range(2):
        for other in ({"host": "c"}, {"host": None}, {"db": 3}, {"db": 1}, {"port": 6380}):
            ours(other, mode, _StabilityMode.DEFAULT)
        assert ours(options, mode, mode) == original(options, mode, mode)
    hashable = "host" not in options or isinstance(options["host"], str)
    assert len(calls) == 5 + (1 if hashable else 2)


def test_modes_are_told_apart(extract):
    """The conventions of the database and those of the network are two choices."""
    original, ours, _ = extract
    for first in _StabilityMode:
        for second in _StabilityMode:
            assert ours({}, first, second) == original({}, first, second)


def test_the_connections_remembered_are_bounded(extract):
    """Whoever asks a new host each time is asked about in vain, and gets the right answer."""
    _, ours, calls = extract
    modes = (_StabilityMode.DEFAULT, _StabilityMode.DEFAULT)
    for _ in range(2):
        for number in range(_MAX_CONNECTIONS + 2):
            assert f"host-{number}" in ours({"host": f"host-{number}"}, *modes).values()
    assert len(calls) == _MAX_CONNECTIONS + 4


def test_it_is_put_there_once(extract):
    """As often as the instrumentor is asked for its options."""
    _, ours, _ = extract
    _remember_connections()
    assert util._extract_conn_attributes is ours
