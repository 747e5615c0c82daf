"""
Instructions executed for one trace: steadier than time on a busy machine.

    python benchmarks/instructions.py [--peers bdeh] [--children 10]

Each contender runs twice under valgrind, with 40 and with 120 traces; the difference is what 80
traces cost, background threads and sending included. The numbers vary by one or two per cent from
run to run. Needs valgrind. tests/test_benchmarks.py is the guard that uses it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import peers
from micro import trace_maker
from peers import RefusedError
from sink import Sink

FEW, MANY, BATCH = 40, 120, 20


def instructions(peer: str, children: int = 10) -> float:
    """
    Return the instructions of one trace.

    Raises:
        RefusedError: The far end has not seen all of them.
        subprocess.CalledProcessError: valgrind or the contender failed.
    """
    few, many = (_count(peer, children, traces) for traces in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _count(peer: str, children: int, traces: int) -> int:
    with Sink() as sink:
        environ = peers.environment(peer, 1.0, sink.dsn(1), sink.otlp(1))
        count = executed([__file__, "--worker", str(children), str(traces)], environ)
        arrived = sink.arrived().get(1, {}).get("roots", 0)
    if peer not in peers.SILENT and arrived != traces:
        raise RefusedError(f"({peer}): {arrived} of {traces} traces arrived")
    return count


def executed(command: list[str], environ: dict[str, str]) -> int:
    """
    Return the instructions that a Python script executes.

    Raises:
        subprocess.CalledProcessError: valgrind or the script failed.
    """
    options = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    found = re.search(r"I\s+refs:\s+([\d,]+)", _run(options, command, environ))
    return int(found[1].replace(",", ""))


def executed_by_thread(command: list[str], environ: dict[str, str]) -> Counter[int]:
    """
    Return the same by thread, numbered in the order of their starts; takes twice as long.

    Raises:
        subprocess.CalledProcessError: valgrind or the script failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        options = ["--tool=callgrind", "--separate-threads=yes"]
        _run([*options, f"--callgrind-out-file={directory}/out"], command, environ)
        return Counter(
            {
                int(file.name.removeprefix("out-")): int(
                    re.search(r"^totals: (\d+)", file.read_text(), re.MULTILINE)[1]
                )
                for file in Path(directory).glob("out-*")
            }
        )


def _run(options: list[str], command: list[str], environ: dict[str, str]) -> str:
    """Return what valgrind says of a Python script."""
    valgrind = ["valgrind", *options, sys.executable, *command]
    return subprocess.run(valgrind, env=environ, capture_output=True, text=True, check=True).stderr


def _worker(children: int, traces: int) -> None:
    peer = os.environ["BENCH_PEER"]
    flush = peers.set_up(peer)
    one = trace_maker(peer, children)
    for number in range(traces):
        one()
        if number % BATCH == BATCH - 1:  # a batch fits into every contender's queue
            flush()


def main() -> int:
    """Count, and print a line for each contender."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--peers", default="bdeh", help="letters: see benchmarks/peers.py")
    parser.add_argument("--children", type=int, default=10)
    parser.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _worker(*args.worker)
        return 0
    for peer in args.peers:
        count = instructions(peer, args.children)
        print(f"({peer}) {peers.PEERS[peer]:34}{count / 1000:9,.0f} thousand instructions a trace")
    return 0


if __name__ == "__main__":
    sys.exit(main())
