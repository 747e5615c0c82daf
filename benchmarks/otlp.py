"""
Spans per CPU second of an application that sends OTLP: our backend beside the plain exporter.

    python benchmarks/otlp.py [--children 10] [--rounds 7] [--seconds 2.0]

Both record the same traces (a request and N database spans) at the same rate and send them to the
same far end, over HTTP. Each runs in a process of its own, rounds are interleaved; CPU time is that
of the whole process, background threads and the last flush included. The far end counts the spans:
a contender that lost one is not reported. Ours annotates and scrubs every span, the plain one does
neither. The target is a ratio of 0.9.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from opentelemetry.trace import SpanKind

RATE = 200  # traces a second
CONTENDERS = ("plain", "ours")
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


class FarEnd(BaseHTTPRequestHandler):
    """A Collector that accepts everything at once, and counts in a file."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def far_end() -> None:
    """Serve until standard input ends; answer each line with the number of spans since the last."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    server = ThreadingHTTPServer(("127.0.0.1", 0), FarEnd)
    server.bodies = []
    Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for _ in sys.stdin:
        bodies, server.bodies = server.bodies, []
        spans = sum(
            len(scope.spans)
            for body in bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
        )
        print(json.dumps([spans, sum(map(len, bodies))]), flush=True)


def contender(name: str, children: int, seconds: float) -> None:
    """Make traces at the rate; print the number of spans and the CPU time."""
    from opentelemetry import trace

    if name == "ours":
        from otel_sentry import pipeline
        from otel_sentry.settings import Settings

        pipeline.configure(
            Settings.from_env({"OTEL_TRACES_EXPORTER": "otlp", "SENTRY_TRACES_SAMPLE_RATE": "1"})
        )
    else:
        from opentelemetry.sdk._configuration import _initialize_components

        os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
        os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
        _initialize_components()
    provider = trace.get_tracer_provider()
    tracer = provider.get_tracer("opentelemetry.instrumentation.sqlalchemy")

    def one() -> None:
        with tracer.start_as_current_span("GET /items/{item_id}", kind=SpanKind.SERVER) as root:
            root.set_attributes(ROOT)
            for _ in range(children):
                with tracer.start_as_current_span("SELECT shop", kind=SpanKind.CLIENT) as span:
                    span.set_attributes(CHILD)

    for _ in range(50):
        one()
    provider.force_flush()
    traces = int(seconds * RATE)
    started, cpu = time.perf_counter(), time.process_time()
    for number in range(traces):
        one()
        time.sleep(max(0.0, started + number / RATE - time.perf_counter()))
    provider.force_flush()
    spent = time.process_time() - cpu
    print(json.dumps([traces * (children + 1), spent]))


def main() -> None:
    """Run the contenders, interleaved, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    me = [sys.executable, __file__]
    sink = subprocess.Popen([*me, "far_end"], stdin=-1, stdout=-1, text=True)
    port = int(sink.stdout.readline())
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    sizes: dict[str, float] = {}
    for _ in range(options.rounds):
        for name in CONTENDERS:
            arguments = [name, str(options.children), str(options.seconds)]
            done = subprocess.check_output([*me, *arguments], env=environ, text=True)
            spans, spent = json.loads(done)
            sink.stdin.write("\n")
            sink.stdin.flush()
            arrived, size = json.loads(sink.stdout.readline())
            expected = spans + 50 * (options.children + 1)
            if arrived != expected:
                sys.exit(f"{name}: {arrived} of {expected} spans arrived")
            rates[name].append(spans / spent)
            sizes[name] = size / arrived
    sink.stdin.close()
    sink.wait()
    ratios = [ours / plain for plain, ours in zip(rates["plain"], rates["ours"], strict=True)]
    for name in CONTENDERS:
        rate = statistics.median(rates[name])
        print(f"{name:6} {rate:8,.0f} spans per CPU second, {sizes[name]:5.0f} bytes a span")
    print(f"ratio  {statistics.median(ratios):8.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    if options.json:
        figures = {name: round(statistics.median(rates[name])) for name in CONTENDERS}
        figures["ratio"] = round(statistics.median(ratios), 2)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["far_end"]:
        far_end()
    elif sys.argv[1:2] and sys.argv[1] in CONTENDERS:
        contender(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
