from __future__ import annotations

import subprocess
import sys

from otel_sentry.cli.tail.receiver import Receiver

PROGRAM = """
import sys, time, sentry_sdk
from otel_sentry import pipeline
from otel_sentry.settings import Settings
from opentelemetry import trace
from sentry_sdk.profiler import continuous_profiler

dsn, lifecycle = sys.argv[1:]
pipeline.configure(Settings.from_env({"SENTRY_DSN": dsn, "SENTRY_TRACES_SAMPLE_RATE": "1"}))
sentry_sdk.init(dsn, profile_session_sample_rate=1.0, profile_lifecycle=lifecycle)
if lifecycle == "manual":
    sentry_sdk.profiler.start_profiler()

def work(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))

for _ in range(2):
    with trace.get_tracer("t").start_as_current_span("root", kind=trace.SpanKind.SERVER):
        work(0.2)
    scheduler = continuous_profiler._scheduler
    deadline = time.monotonic() + 20
    while lifecycle == "trace" and scheduler.running and time.monotonic() < deadline:
        time.sleep(0.01)
    print(scheduler.running)
sentry_sdk.profiler.stop_profiler()
trace.get_tracer_provider().force_flush()
sentry_sdk.flush()
"""


def run(lifecycle):
    """Run the program; return what arrived and whether the profiler ran between the traces."""
    with Receiver() as receiver:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, receiver.dsn, lifecycle],
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        chunks = [item.fields for item in receiver.items if item.kind == "profile_chunk"]
        return receiver.transactions(), chunks, done.stdout.split()


def test_the_profiler_follows_traces():
    """It runs while a trace is open, stops after it, and the transaction names its profile."""
    transactions, chunks, running = run("trace")

    assert running == ["False", "False"]
    ids = [event["contexts"]["profile"]["profiler_id"] for event in transactions]
    assert len(ids) == 2
    assert set(ids) <= {chunk["profiler_id"] for chunk in chunks}
    for event in transactions:
        data = event["contexts"]["trace"]["data"]
        assert data["thread.name"] == "MainThread"
        sampled = {sample["thread_id"] for c in chunks for sample in c["profile"]["samples"]}
        assert data["thread.id"] in sampled


def test_a_profiler_that_the_application_runs_is_named():
    """With the manual life cycle the application decides; transactions name the profile."""
    transactions, chunks, running = run("manual")

    assert running == ["True", "True"]
    ids = {event["contexts"]["profile"]["profiler_id"] for event in transactions}
    assert ids == {chunk["profiler_id"] for chunk in chunks}
