"""
The micro workload: one trace, a root and N database spans, without any framework.

Each contender runs in a process of its own, which makes traces when it is told to; bursts are
interleaved. `request` is CPU time of the thread that makes the spans, `total` that of the process,
background threads included, until everything has left it.

    python benchmarks/micro.py [--peers bdeh] [--children 10] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import peers
from sink import Sink

SPANS_A_SECOND = 2200  # 200 traces with ten children; the same for all
WARM_UP = 30
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


class Contender:
    """A contender's process, seen from the harness; a context manager."""

    def __init__(self, peer: str, rate: float, dsn: str, otlp: str) -> None:
        self.peer, self.rate = peer, rate
        self.made: dict[str, int] = {"traces": 0, "spans": 0}
        self._environ = peers.environment(peer, rate, dsn, otlp)

    def __enter__(self):
        command = [sys.executable, __file__, "--worker"]
        self._process = subprocess.Popen(
            command, stdin=-1, stdout=-1, text=True, env=self._environ, bufsize=1
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def burst(self, children: int, traces: int) -> dict[str, float]:
        """Make traces; return microseconds of CPU time a trace, by thread."""
        self._process.stdin.write(f"{children} {traces}\n")
        figures = json.loads(self._process.stdout.readline())
        self.made["traces"] += traces
        self.made["spans"] += traces * (children + 1)
        return figures


def trace_maker(peer: str, children: int):
    """Return a function that makes one trace."""
    if peer == "a":
        return lambda: None
    if peer == "d":
        return _native_trace(children)
    from opentelemetry import trace

    return otel_trace(trace.get_tracer("opentelemetry.instrumentation.sqlalchemy"), children)


def otel_trace(tracer, children: int):
    """Return a function that makes one trace with OpenTelemetry's API."""
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


def _worker() -> None:
    peer = os.environ["BENCH_PEER"]
    flush = peers.set_up(peer)
    for line in sys.stdin:
        children, traces = map(int, line.split())
        print(json.dumps(_burst(trace_maker(peer, children), flush, children, traces)), flush=True)


def _burst(one, flush, children: int, traces: int) -> dict[str, float]:
    # At a fixed rate, the same for all: caches are as cold as between requests, and no queue
    # overflows, which would make a contender look cheap.
    interval = (children + 1) / SPANS_A_SECOND
    request = 0.0
    total = time.process_time()
    due = time.monotonic()
    for _ in range(traces):
        due += interval
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.thread_time()
        one()
        request += time.thread_time() - started
    flush()
    total = time.process_time() - total
    return {"request": request / traces * 1e6, "total": total / traces * 1e6}


def main() -> int:
    """Run some contenders and print a table: for work on the code, and profilers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--peers", default="bdeh", help="letters: see benchmarks/peers.py")
    parser.add_argument("--children", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _worker()
        return 0
    traces = max(2, int(args.seconds * SPANS_A_SECOND / (args.children + 1)))
    with Sink() as sink:
        rows = {
            peer: measure(peer, args.rate, args.children, traces, args.rounds, sink)
            for peer in args.peers
        }
    print(f"{'':36}{'request µs':>12}{'total µs':>12}")
    for peer, figures in rows.items():
        print(f"({peer}) {peers.PEERS[peer]:32}{figures['request']:12.0f}{figures['total']:12.0f}")
    return 0


def measure(peer: str, rate: float, children: int, traces: int, rounds: int, sink: Sink) -> dict:
    """Run one contender alone; return the medians."""
    with Contender(peer, rate, sink.dsn(1), sink.otlp(1)) as contender:
        contender.burst(children, WARM_UP)
        runs = [contender.burst(children, traces) for _ in range(rounds)]
    print(peer, contender.made, dict(sink.arrived().get(1, {})))
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


if __name__ == "__main__":
    sys.exit(main())
