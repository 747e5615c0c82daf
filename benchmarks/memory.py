"""
Memory: what a span holds while its root is open, and what a process holds after a million.

    python benchmarks/memory.py [--spans 1000000]

Prints resident memory in MiB at eleven points and fails where the last half still grows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import peers
from micro import otel_trace

ALLOWED_GROWTH = 1.05  # of the middle's resident memory, at the end
_CHILDREN = 1000
_NOBODY = "http://public@127.0.0.1:9/1"  # the discard port: all is built, then counted as lost


def buffered() -> dict[str, float]:
    """
    Return bytes that a finished span holds while its root is open.

    `otel` is OpenTelemetry's own span, kept in a list by a processor; `ours` that in a segment.
    """
    return {
        name: json.loads(
            subprocess.check_output(
                [sys.executable, __file__, "--buffered", name],
                env=peers.environment("h", 1.0, _NOBODY, ""),
            )
        )
        for name in ("otel", "ours")
    }


def _buffered(name: str) -> float:
    import tracemalloc

    from opentelemetry import trace

    if name == "ours":
        peers.set_up("h")
    else:
        _keep_spans()
    tracer = trace.get_tracer("opentelemetry.instrumentation.sqlalchemy")
    otel_trace(tracer, 10)()  # what is made once
    with tracer.start_as_current_span("root"):
        tracemalloc.start()
        otel_trace(tracer, _CHILDREN)()
        return tracemalloc.get_traced_memory()[0] / (_CHILDREN + 1)


def _keep_spans() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    kept = []

    class Keep(SpanProcessor):
        def on_end(self, span) -> None:
            kept.append(span)

    provider = TracerProvider()
    provider.add_span_processor(Keep())
    trace.set_tracer_provider(provider)


def _resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def main() -> int:
    """Send the spans, look at the memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--buffered", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.buffered:
        print(_buffered(args.buffered))
        return 0
    os.environ.update(peers.environment("h", 1.0, _NOBODY, ""))
    flush = peers.set_up("h")
    from opentelemetry import trace

    one = otel_trace(trace.get_tracer("opentelemetry.instrumentation.sqlalchemy"), 10)
    points = [_resident()]
    for _ in range(10):
        for _ in range(args.spans // 110 // 50):
            for _ in range(50):
                one()
            flush()
        points.append(_resident())
        print(f"{points[-1]:.1f}", end=" ", flush=True)
    print("MiB")
    return int(points[-1] > points[5] * ALLOWED_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
