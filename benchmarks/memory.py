"""
Resident memory while many spans go through one process: flat after warm-up.

    python benchmarks/memory.py [--spans 1000000]

Prints resident memory in MiB at eleven points and fails where the last half still grows.
"""

from __future__ import annotations

import argparse
import sys

from micro import _make_tracer, _otel_trace

ALLOWED_GROWTH = 1.05  # of the middle's resident memory, at the end


def resident() -> float:
    """Return this process's resident memory in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def main() -> int:
    """Send the spans, look at the memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    args = parser.parse_args()
    # Nobody listens on the discard port: every transaction is built, then counted as lost.
    tracer, flush = _make_tracer("ours", "http://public@127.0.0.1:9/1")
    one = _otel_trace(tracer, 10)
    points = [resident()]
    for _ in range(10):
        for _ in range(args.spans // 110 // 50):
            for _ in range(50):
                one()
            flush()
        points.append(resident())
        print(f"{points[-1]:.1f}", end=" ", flush=True)
    print("MiB")
    return int(points[-1] > points[5] * ALLOWED_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
