"""sentry-sdk's transaction for a request, which goes nowhere: nothing is missing that one asks."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest
import sentry_sdk
from fastapi import FastAPI
from sentry_sdk import Scope
from sentry_sdk.tracing import NoOpSpan, Span, Transaction

from otel_sentry.errors.idle import IdleTransaction, make_transactions_idle
from tests.faults.driver import printed

TRACE, PARENT = "a" * 32, "b" * 16
HEADERS = {
    "none": {},
    "sampled": {"sentry-trace": f"{TRACE}-{PARENT}-1"},
    "left out": {"sentry-trace": f"{TRACE}-{PARENT}-0"},
    "undecided": {"sentry-trace": f"{TRACE}-{PARENT}"},
    "baggage": {
        "sentry-trace": f"{TRACE}-{PARENT}-1",
        "baggage": f"sentry-trace_id={TRACE},sentry-sample_rate=0.5,sentry-sample_rand=0.25,mine=1",
    },
    "hostile": {"sentry-trace": "x", "baggage": "\0,=,sentry-sample_rand=nan"},
}
SAID = {
    "nothing": {},
    "all": {"op": "http.server", "name": "GET /", "source": "route", "origin": "auto.http"},
}
# What is another each time.
ITS_OWN = frozenset({"_span_id", "start_timestamp", "_start_timestamp_monotonic_ns", "scope"})


@pytest.fixture
def native(monkeypatch):
    """Let transactions be idle; return sentry-sdk's own way to make one."""
    original = getattr(Scope.continue_trace, "__wrapped__", Scope.continue_trace)
    monkeypatch.setattr(Scope, "continue_trace", original)
    make_transactions_idle()
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope() as scope:
        scope.set_client(sentry_sdk.Client("http://key@127.0.0.1:9/1", default_integrations=False))
        yield original


def slots(transaction):
    """Return all that a transaction holds, but what is another each time."""
    names = {name for cls in Transaction.__mro__ for name in getattr(cls, "__slots__", ())}
    return {name: getattr(transaction, name, "absent") for name in names - ITS_OWN}


def plain(held):
    """Return the same with the baggage as what it says."""
    baggage = held.pop("_baggage")
    return held, baggage and (baggage.serialize(include_third_party=True), baggage.mutable)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_what_it_holds_is_what_sentrys_holds(native, monkeypatch, headers, said):
    """Once it has started, each of its slots has the value of that of sentry-sdk's."""
    idle = sentry_sdk.start_transaction(sentry_sdk.continue_trace(headers, **said))
    scope = sentry_sdk.get_isolation_scope()
    trace_id = scope._propagation_context.trace_id
    monkeypatch.setattr(Scope, "generate_propagation_context", lambda *_: None)  # the same trace
    theirs = sentry_sdk.start_transaction(native(scope, headers, **said))
    assert type(theirs) is Transaction
    assert type(idle) is IdleTransaction
    assert plain(slots(idle)) == plain(slots(theirs))
    assert (idle.trace_id, idle.sampled) == (trace_id, False)
    assert (trace_id == TRACE) is headers.get("sentry-trace", "").startswith(TRACE)
    assert idle.get_baggage().serialize() == theirs.get_baggage().serialize()
    ours, its = idle.to_json(), theirs.to_json()
    assert set(ours) == set(its)
    assert (ours["op"], ours["name"], ours["source"]) == (its["op"], its["name"], its["source"])
    assert idle.to_traceparent().startswith(f"{trace_id}-{idle.span_id}")


def test_it_began_when_it_began(native):
    """However late somebody looks at it."""
    before = time.time()
    idle = sentry_sdk.continue_trace({})
    after = time.time()
    time.sleep(0.02)
    assert before - 0.001 <= idle.start_timestamp.timestamp() <= after + 0.001


def test_what_was_said_before_it_was_made_stays(native):
    """A name, a tag; and what nobody has said is as it would be."""
    with sentry_sdk.start_transaction(sentry_sdk.continue_trace({}, name="a", op="http")) as idle:
        sentry_sdk.get_current_scope().set_transaction_name("b", source="route")
        idle.set_tag("color", "red")
        assert idle.op == "http"
        idle.set_data("size", 1)
        assert (idle.name, idle.source, idle._tags) == ("b", "route", {"color": "red"})
        assert idle._data["size"] == 1


def test_it_is_the_current_span_while_it_runs(native):
    """Whatever the application does with it, it is told, and nothing is raised."""
    scope = sentry_sdk.get_current_scope()
    with sentry_sdk.start_transaction(sentry_sdk.continue_trace({}, name="outer")) as outer:
        with sentry_sdk.start_transaction(sentry_sdk.continue_trace({}, name="inner")) as inner:
            assert sentry_sdk.get_current_span() is scope.transaction is inner
            with sentry_sdk.start_span(op="db", name="SELECT") as child:
                assert isinstance(child, Span)
                assert not isinstance(child, NoOpSpan)
                assert (child.trace_id, child.sampled) == (inner.trace_id, False)
                child.set_data("rows", 1)
            inner.set_http_status(200)
            inner.set_status("ok")
            inner.update_active_thread()
            inner.set_context("shop", {"open": True})
            inner.finish()
        assert sentry_sdk.get_current_span() is outer
    assert sentry_sdk.get_current_span() is None
    with pytest.raises(AttributeError, match="colour"):
        _ = outer.colour


def test_an_error_leaves_the_scope_as_it_was(native):
    """It comes out, too."""
    error = KeyError()
    with (
        pytest.raises(KeyError) as caught,
        sentry_sdk.start_transaction(sentry_sdk.continue_trace({})),
    ):
        raise error
    assert caught.value is error
    assert sentry_sdk.get_current_span() is None


def test_threads_may_look_at_it_together(native):
    """Each finds all of it."""
    for _ in range(50):
        idle = sentry_sdk.continue_trace({}, op="http")
        start, found = threading.Barrier(4), []

        def look(idle=idle, start=start, found=found):
            start.wait()
            found.append((idle.op, idle.trace_id, idle._data is not None))

        threads = [threading.Thread(target=look) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(found) == 4
        assert len(set(found)) == 1


def test_where_sentry_sdk_traces_it_is_sentrys(native):
    """A client that has a rate makes transactions of its own."""
    client = sentry_sdk.Client(traces_sample_rate=1.0, default_integrations=False)
    # Past our adoption, which would switch it off.
    sentry_sdk.get_current_scope().client = client
    assert type(sentry_sdk.continue_trace({})) is Transaction


def test_it_is_put_there_once(native):
    """As often as the bridge is set up."""
    ours = Scope.continue_trace
    make_transactions_idle()
    assert Scope.continue_trace is ours


def test_a_request_makes_none(native, monkeypatch):
    """That nobody looks at; and one that is looked at is there."""
    made = []
    original = Transaction.__init__

    def init(self, *args, **kwargs):
        made.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Transaction, "__init__", init)
    client = sentry_sdk.Client("http://key@127.0.0.1:9/1")
    sentry_sdk.get_global_scope().set_client(client)
    sentry_sdk.get_current_scope().set_client(client)
    app = FastAPI()

    @app.get("/items/{number}")
    def read(number: int):
        if number:
            span = sentry_sdk.get_current_span()
            span.set_data("number", number)
            return [type(span).__name__, span.op, span.containing_transaction.name]
        return []

    async def ask(number):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
            return (await http.get(f"/items/{number}")).json()

    assert asyncio.run(ask(0)) == []
    assert made == []
    assert asyncio.run(ask(1)) == ["IdleTransaction", "http.server", "/items/{number}"]
    assert len(made) == 1


SERVICE = """
import asyncio
import httpx, sentry_sdk
from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.gzip import GZipMiddleware
app = FastAPI()
app.add_middleware(GZipMiddleware)
@app.get("/")
def read():
    return type(sentry_sdk.get_current_span()).__name__
async def ask():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
        print((await http.get("/")).json())
asyncio.run(ask())
for middleware in (GZipMiddleware, ServerErrorMiddleware, ExceptionMiddleware):
    print(middleware.__call__.__name__)
"""


def test_the_launcher_spares_requests_sentrys_tracing():
    """Transactions are idle, middlewares are as they are; but for the one that tells errors."""
    expected = ["IdleTransaction", "__call__", "__call__", "_sentry_exceptionmiddleware_call"]
    assert printed(SERVICE).split() == expected
