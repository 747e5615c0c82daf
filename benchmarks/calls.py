"""
Calls that the request's thread makes for one trace: the same number in every run, on any machine.

    python benchmarks/calls.py [--peers bdeh]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import peers
from micro import trace_maker
from sink import Sink

CHILDREN = 10
_TRACES = 20


def calls(peer: str) -> float:
    """Return how many Python and C functions the request's thread calls for one trace."""
    with Sink() as sink:
        counted = subprocess.check_output(
            [sys.executable, __file__, "--worker"],
            env=peers.environment(peer, 1.0, sink.dsn(1), sink.otlp(1)),
            text=True,
        )
    return json.loads(counted)


def _worker() -> float:
    peer = os.environ["BENCH_PEER"]
    flush = peers.set_up(peer)
    one = trace_maker(peer, CHILDREN)
    one()
    flush()
    counted = 0

    def count(_frame, event: str, _argument) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    sys.setprofile(count)
    for _ in range(_TRACES):
        one()
    sys.setprofile(None)
    flush()
    return counted / _TRACES


def main() -> int:
    """Count, and print a line for each contender."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--peers", default="bdeh", help="letters: see benchmarks/peers.py")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(_worker()))
        return 0
    for peer in args.peers:
        print(f"({peer}) {peers.PEERS[peer]:34}{calls(peer):8,.0f} calls a trace")
    return 0


if __name__ == "__main__":
    sys.exit(main())
