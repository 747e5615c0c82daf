"""A fork at any moment: every transaction is sent once, by the process that made it."""

from __future__ import annotations

import json
from collections import Counter

from tests.faults.driver import run_script, start_script
from tests.faults.far_end import TAKE, Mode

PRELUDE = """
import json, os, sys, threading, time
import application, sentry_sdk
from opentelemetry import trace

def child(code):
    pid = os.fork()
    if pid == 0:
        code()
        # Far more than it takes, on a machine that is busy with something else.
        os._exit(0 if trace.get_tracer_provider().force_flush(40_000) else 5)
    return pid

def wait(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def named(name):
    with application.tracer.start_as_current_span(name, kind=trace.SpanKind.SERVER): pass
"""


def names(far_end):
    """Return how often each transaction was sent."""
    return Counter(event["transaction"] for event in far_end.receiver.transactions())


def test_five_hundred_forks(far_end):
    """Of 500 children, forked while their parent works, each one's transaction arrives once."""
    code = """
threading.Thread(
    target=application.work, kwargs={"transactions": 2000, "rate": 100}, daemon=True
).start()
for number in range(500):
    wait(child(lambda: named(f"child {number}")))
named("parent")
trace.get_tracer_provider().force_flush(40_000)
"""
    done = run_script(PRELUDE + code, far_end.dsn)
    assert done.returncode == 0, done.stderr

    counts = names(far_end)
    assert {name: counts[name] for name in counts if name.startswith("child")} == {
        f"child {number}": 1 for number in range(500)
    }
    assert counts["parent"] == 1
    ids = [event["contexts"]["trace"]["span_id"] for event in far_end.receiver.transactions()]
    assert len(ids) == len(set(ids))


def test_a_fork_in_the_middle_of_a_request(far_end):
    """The parent sends the open request; what the child does below it is a continuation."""
    code = """
with application.tracer.start_as_current_span("request", kind=trace.SpanKind.SERVER):
    named_child = lambda: application.tracer.start_span("below").end()
    wait(child(named_child))
    with application.tracer.start_as_current_span("in the parent"): pass
"""
    done = run_script(PRELUDE + code, far_end.dsn)
    assert done.returncode == 0, done.stderr

    assert names(far_end) == {"request": 1, "below": 1}
    request, below = (
        next(e for e in far_end.receiver.transactions() if e["transaction"] == name)
        for name in ("request", "below")
    )
    assert [span["description"] for span in request["spans"]] == ["in the parent"]
    trace = below["contexts"]["trace"]
    assert trace["trace_id"] == request["contexts"]["trace"]["trace_id"]
    assert trace["parent_span_id"] == request["contexts"]["trace"]["span_id"]


def test_a_fork_with_a_full_queue(far_end):
    """What waits in the parent's queue is sent by the parent alone, and counted by it alone."""
    far_end.become(Mode("hang"))
    code = """
for number in range(1500): named(f"{number}")
trace.get_tracer_provider().force_flush(1000)
pids = [child(lambda: None) for _ in range(3)]
print("forked", flush=True)
for pid in pids: wait(pid)
trace.get_tracer_provider().force_flush(90_000)
"""
    with start_script(PRELUDE + code, far_end.dsn) as process:
        assert process.stdout.readline() == "forked\n"
        far_end.become(TAKE)
        _, stderr = process.communicate()
    assert process.returncode == 0, stderr

    counts = names(far_end)
    assert set(counts.values()) == {1}
    assert len(counts) + far_end.lost("transaction") == 1500


def test_no_thread_of_ours_imports(far_end):
    """Sending imports nothing: a child forked meanwhile would wait for that import for ever."""
    code = """
before = set(sys.modules)
named("first")
application.fail()
trace.get_tracer_provider().force_flush(40_000)
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = run_script(PRELUDE + code, far_end.dsn)
    assert json.loads(done.stdout) == [], done.stderr
    assert names(far_end) == {"first": 1}
    assert len(far_end.receiver.errors()) == 1


def test_a_fork_in_the_middle_of_a_build(far_end):
    """Children forked while transactions are being built and sent neither stop nor repeat."""
    code = """
workers = [
    threading.Thread(target=application.work, kwargs={"transactions": 300, "children": 20})
    for _ in range(4)
]
for worker in workers: worker.start()
for number in range(40): wait(child(lambda: named(f"child {number}")))
for worker in workers: worker.join()
trace.get_tracer_provider().force_flush(90_000)
"""
    done = run_script(PRELUDE + code, far_end.dsn)
    assert done.returncode == 0, done.stderr

    counts = names(far_end)
    made = counts["GET /work"] + far_end.lost("transaction")
    assert made == 4 * 300
    assert all(counts[f"child {number}"] == 1 for number in range(40))
    whole = [e for e in far_end.receiver.transactions() if e["transaction"] == "GET /work"]
    assert {len(event["spans"]) for event in whole} == {20}


def test_no_connection_is_shared(far_end):
    """A child opens a connection of its own, although its parent's is open and idle."""
    code = """
named("parent")
trace.get_tracer_provider().force_flush(10_000)
pids = [child(lambda: [named("child") for _ in range(5)]) for _ in range(5)]
for pid in pids: wait(pid)
named("parent")
trace.get_tracer_provider().force_flush(10_000)
print(json.dumps("done"))
"""
    done = run_script(PRELUDE + code, far_end.dsn)
    assert json.loads(done.stdout.splitlines()[-1]) == "done", done.stderr

    assert names(far_end) == {"parent": 2, "child": 25}
    assert far_end.connections >= 6
    assert far_end.receiver.refused == 0
