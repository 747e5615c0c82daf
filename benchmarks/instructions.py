"""
Instructions executed for one trace, peers side by side: steadier than time on a busy machine.

    python benchmarks/instructions.py [--children 10]

Each contender runs twice under valgrind, with 80 and with 240 traces; the difference is what 160
traces cost, background threads and sending included. Needs valgrind.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from micro import CONTENDERS, contender

FEW, MANY, BATCH = 80, 240, 40


def run_one(name: str, dsn: str, children: int, traces: int) -> None:
    """Make traces in this process; a batch fits into every contender's queue."""
    one, flush = contender(name, dsn, children)
    for number in range(traces):
        one()
        if number % BATCH == BATCH - 1 and flush:
            flush()


def count(name: str, children: int, traces: int) -> int:
    """Return the instructions of a process that makes so many traces, all of which arrive."""
    from otel_sentry.cli.tail.receiver import Receiver

    with Receiver(keep=100_000) as far_end:
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no"]
        valgrind += ["--cachegrind-out-file=/dev/null"]
        command = [*valgrind, sys.executable, __file__, "--run", name, far_end.dsn, str(traces)]
        command += ["--children", str(children)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        arrived = len(far_end.transactions())
    if not name.startswith("otel") and arrived != traces:
        sys.exit(f"{name}: {traces - arrived} of {traces} lost")
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    return int(found[1].replace(",", ""))


def main() -> int:
    """Run all contenders and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--children", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        name, dsn, traces = args.run
        run_one(name, dsn, args.children, int(traces))
        return 0
    per_trace = {}
    for name in CONTENDERS:
        few, many = (count(name, args.children, traces) for traces in (FEW, MANY))
        per_trace[name] = (many - few) / (MANY - FEW)
        print(f"{name:24}{per_trace[name] / 1000:12,.0f} thousand instructions a trace")
    base = per_trace["otel"]
    ratio = (per_trace["ours"] - base) / (per_trace["sentry_span_processor"] - base)
    print(f"added over otel: {ratio:.2f}x of sentry_span_processor")
    print(f"total: {per_trace['ours'] / per_trace['sentry_native']:.2f}x of sentry_native")
    if args.json:
        args.json.write_text(json.dumps(per_trace, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
