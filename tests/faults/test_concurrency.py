"""Many at once: threads that switch at every chance, tasks, greenlets."""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec

import pytest
from opentelemetry.trace import set_span_in_context

from tests.faults.driver import run_script
from tests.spans import Tracing

THREADS, ROUNDS, CHILDREN = 8, 200, 5


@pytest.fixture
def restless():
    """Let threads switch a thousand times as often as they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_switch_at_every_chance(restless):
    """No span is lost, doubled or put into another's transaction, whoever is interrupted where."""
    tracing = Tracing(grace=0.0, max_spans=4)
    failures = []

    def work(thread):
        try:
            for number in range(ROUNDS):
                with tracing.tracer.start_as_current_span(f"{thread}-{number}"):
                    for _ in range(CHILDREN):
                        tracing.tracer.start_span(f"{thread}-{number}").end()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = tracing.flush()

    assert failures == []
    assert len(events) == THREADS * ROUNDS
    assert len(tracing.sink.span_ids) == len(set(tracing.sink.span_ids))
    made = THREADS * ROUNDS * (CHILDREN + 1)
    assert len(tracing.sink.span_ids) + tracing.sink.lost_spans == made
    for event in events:
        assert {span["description"] for span in event["spans"]} == {event["transaction"]}


def test_late_spans_that_race_with_their_root(restless):
    """A child that ends in another thread while its root ends is sent once, or counted."""
    tracing = Tracing(grace=0.0)
    gate = threading.Barrier(2)

    def late(spans):
        for span in spans:
            gate.wait(10)
            span.end()

    roots = [tracing.tracer.start_span("root") for _ in range(500)]
    children = [tracing.tracer.start_span("child", set_span_in_context(root)) for root in roots]
    thread = threading.Thread(target=late, args=(children,))
    thread.start()
    for root in roots:
        gate.wait(10)
        root.end()
    thread.join()
    tracing.flush()

    assert len(tracing.sink.span_ids) == len(set(tracing.sink.span_ids))
    assert len(tracing.sink.span_ids) + tracing.sink.lost_spans == 1000


TASKS = """
import asyncio, application, sentry_sdk
from opentelemetry import trace

async def request(number):
    with sentry_sdk.isolation_scope():
        sentry_sdk.set_tag("number", str(number))
        with application.tracer.start_as_current_span(f"r{number}", kind=trace.SpanKind.SERVER):
            for _ in range(3):
                await asyncio.sleep(0.001 * (number % 7))
                with application.tracer.start_as_current_span(f"child of r{number}"):
                    await asyncio.sleep(0)

async def main():
    await asyncio.gather(*(request(number) for number in range(1000)))

asyncio.run(main())
"""


def assert_separate(far_end, count):
    """Each request's transaction arrived once, with its own children and tags."""
    events = {event["transaction"]: event for event in far_end.receiver.transactions()}
    assert len(far_end.receiver.transactions()) == len(events) == count
    for name, event in events.items():
        assert [span["description"] for span in event["spans"]] == [f"child of {name}"] * 3
        assert event["tags"] == {"number": name[1:]}


def test_a_thousand_concurrent_tasks(far_end):
    """A thousand requests at once on one event loop do not mix."""
    done = run_script(TASKS, far_end.dsn)
    assert done.returncode == 0, done.stderr

    assert_separate(far_end, 1000)


GREENLETS = """
import application, sentry_sdk, os, signal, {module}
from opentelemetry import trace

def request(number):
    with sentry_sdk.isolation_scope():
        sentry_sdk.set_tag("number", str(number))
        with application.tracer.start_as_current_span(f"r{{number}}", kind=trace.SpanKind.SERVER):
            for _ in range(3):
                {module}.sleep(0.001 * (number % 7))
                with application.tracer.start_as_current_span(f"child of r{{number}}"):
                    {module}.sleep(0)

{run}
{end}
"""
RUN = {
    "gevent": "gevent.joinall([gevent.spawn(request, n) for n in range(300)], raise_error=True)",
    "eventlet": (
        "pile = eventlet.GreenPool(300)\nfor n in range(300): pile.spawn(request, n)\n"
        "pile.waitall()"
    ),
}
PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


SIGTERM = "os.kill(os.getpid(), signal.SIGTERM); gevent.sleep(20)"
NO_EVENTLET = pytest.mark.skipif(
    find_spec("eventlet") is None,
    reason="no test dependency: sentry-sdk imports it where it is, and that import warns",
)


@pytest.mark.parametrize(
    ("module", "end"),
    [("gevent", ""), ("gevent", SIGTERM), pytest.param("eventlet", "", marks=NO_EVENTLET)],
)
def test_greenlets(far_end, module, end):
    """Under a patched interpreter greenlets do not mix either, and the end flushes."""
    code = GREENLETS.format(module=module, run=RUN[module], end=end)
    done = run_script(code, far_end.dsn, first=PATCH[module])
    assert "Traceback" not in done.stderr, done.stderr

    assert_separate(far_end, 300)
    assert far_end.lost("transaction") == 0
