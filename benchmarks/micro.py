"""
CPU time of one trace (a root and N database spans, no framework), peers side by side.

    python benchmarks/micro.py [--children 10] [--rounds 5] [--seconds 1.0]

Each contender runs in a process of its own against a far end that answers at once; rounds are
interleaved. `request` is CPU time of the thread that makes the spans, `total` that of the process,
background threads included, until everything has left it. The far end counts what arrived: a
contender that lost something is not reported.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RATE = 200  # traces a second
CONTENDERS = ("otel", "ours", "sentry_native", "sentry_span_processor", "otel_off")


def _make_tracer(name: str, dsn: str):
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    flush = None
    if name == "ours":
        from otel_sentry import pipeline
        from otel_sentry.settings import Settings

        pipeline.configure(Settings.from_env({"SENTRY_DSN": dsn, "SENTRY_TRACES_SAMPLE_RATE": "1"}))
        provider = trace.get_tracer_provider()
        flush = provider.force_flush
    elif name == "sentry_span_processor":
        import sentry_sdk
        from sentry_sdk.integrations.opentelemetry import SentrySpanProcessor

        sentry_sdk.init(dsn, traces_sample_rate=1.0, instrumenter="otel")
        provider = TracerProvider(sampler=ALWAYS_ON)
        provider.add_span_processor(SentrySpanProcessor())
        flush = lambda: sentry_sdk.flush(60)  # noqa: E731
    else:
        provider = TracerProvider(sampler=ALWAYS_ON if name == "otel" else ALWAYS_OFF)
    return provider.get_tracer("opentelemetry.instrumentation.sqlalchemy"), flush


ROOT = {
    "http.request.method": "GET",
    "http.route": "/items/{item_id}",
    "url.path": "/items/3",
    "url.scheme": "http",
    "server.address": "shop.example",
    "server.port": 80,
    "user_agent.original": "curl/8.4.0",
    "http.response.status_code": 200,
}
CHILD = {
    "db.system": "postgresql",
    "db.name": "shop",
    "db.statement": "SELECT id, name, price FROM items WHERE id = %(id_1)s",
    "db.operation": "SELECT",
    "net.peer.name": "db.example",
    "net.peer.port": 5432,
}


def _otel_trace(tracer, children: int):
    from opentelemetry.trace import SpanKind

    def one() -> None:
        with tracer.start_as_current_span("GET /items/{item_id}", kind=SpanKind.SERVER) as root:
            root.set_attributes(ROOT)
            for _ in range(children):
                with tracer.start_as_current_span("SELECT shop", kind=SpanKind.CLIENT) as span:
                    span.set_attributes(CHILD)

    return one


def _native_trace(children: int):
    import sentry_sdk

    def one() -> None:
        with sentry_sdk.start_transaction(op="http.server", name="GET /items/{item_id}") as root:
            for key, value in ROOT.items():
                root.set_data(key, value)
            for _ in range(children):
                with sentry_sdk.start_span(op="db", name=CHILD["db.statement"]) as span:
                    for key, value in CHILD.items():
                        span.set_data(key, value)

    return one


def contender(name: str, dsn: str, children: int):
    """Return what makes one trace, and what waits until all have left (or None)."""
    if name == "sentry_native":
        import sentry_sdk

        sentry_sdk.init(dsn, traces_sample_rate=1.0)
        return _native_trace(children), lambda: sentry_sdk.flush(60)
    tracer, flush = _make_tracer(name, dsn)
    return _otel_trace(tracer, children), flush


def run_one(name: str, dsn: str, children: int, seconds: float) -> None:
    """Run one contender in this process and print its figures as JSON."""
    one, flush = contender(name, dsn, children)
    for _ in range(30):
        one()
    if flush:
        flush()
    # At a fixed rate, the same for all: caches are as cold as between requests, and no queue
    # overflows, which would make a contender look cheap.
    traces = 0
    request = 0.0
    total = time.process_time()
    due = time.monotonic()
    end = due + seconds
    while due < end:
        due += 1 / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.thread_time()
        one()
        request += time.thread_time() - started
        traces += 1
    if flush:
        flush()
    total = time.process_time() - total
    result = {"name": name, "traces": traces + 30}
    print(json.dumps({**result, "request": request / traces * 1e6, "total": total / traces * 1e6}))


def end_of_root(children: int) -> float:
    """Return how long the end of a root blocks its caller, in microseconds (median of 50)."""
    from opentelemetry.trace import set_span_in_context

    tracer, flush = _make_tracer("ours", "http://public@127.0.0.1:9/1")
    times = []
    for _ in range(50):
        root = tracer.start_span("root")
        context = set_span_in_context(root)
        for _ in range(children):
            tracer.start_span("child", context).end()
        started = time.perf_counter()
        root.end()
        times.append((time.perf_counter() - started) * 1e6)
    flush()
    return statistics.median(times)


def main() -> int:
    """Run all contenders and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--children", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default=",".join(CONTENDERS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs=2, metavar=("NAME", "DSN"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run_one(*args.run, args.children, args.seconds)
        return 0
    from otel_sentry.cli.tail.receiver import Receiver

    results: dict[str, list[dict]] = {name: [] for name in args.only.split(",")}
    for _ in range(args.rounds):
        for name, runs in results.items():
            with Receiver(keep=1_000_000) as far_end:
                command = [sys.executable, __file__, "--run", name, far_end.dsn]
                command += ["--children", str(args.children), "--seconds", str(args.seconds)]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ)
                figures = json.loads(done.stdout)
                arrived = len(far_end.transactions())
            if not name.startswith("otel") and arrived != figures["traces"]:
                print(f"{name}: {figures['traces'] - arrived} of {figures['traces']} lost")
                return 1
            runs.append(figures)
    medians = {
        name: {key: statistics.median(r[key] for r in runs) for key in ("request", "total")}
        for name, runs in results.items()
    }
    print(f"{'':24}{'request µs':>12}{'total µs':>12}")
    for name, figures in medians.items():
        print(f"{name:24}{figures['request']:12.0f}{figures['total']:12.0f}")
    if {"otel", "ours", "sentry_span_processor"} <= set(medians):
        base, ours, theirs = (medians[n] for n in ("otel", "ours", "sentry_span_processor"))
        for key in ("request", "total"):
            ratio = (ours[key] - base[key]) / (theirs[key] - base[key])
            print(f"added over otel, {key}: {ratio:.2f}x of sentry_span_processor")
    for children in (10, 999):
        print(f"the end of a root with {children} children takes {end_of_root(children):.0f} µs")
    if args.json:
        args.json.write_text(json.dumps(medians, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
