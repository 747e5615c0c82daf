"""
Ten minutes of mixed traffic against a far end that fails every now and then.

    python benchmarks/soak.py [--seconds 600] [--rate 100]

Late spans and errors in two threads; the far end is slow, then refuses,
hangs, answers 500 or 429, and is well again in between. At the end everything is accounted for:
sent + counted = made; threads and open files are what they were; and resident memory has no slope:
its last third is compared with its second (the first fills caches). Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.faults.driver import run_application
from tests.faults.far_end import TAKE, FarEnd, Mode

FAULTS = (
    Mode(delay=0.05),
    Mode("refuse"),
    Mode("answer", status=500),
    Mode("hang"),
    Mode("drop"),
    Mode("answer", status=429, headers={"X-Sentry-Rate-Limits": "2:transaction:key"}),
)
THREADS = 2
MAX_GROWTH = 0.02
"""Of resident memory, between the medians of its second and its last third, in ten minutes."""

MAX_GROWTH_AT_FIRST = 0.05
"""The same in less than five minutes, in which caches still fill."""


def _mixed(application, rate: float, seconds: float) -> Counter:
    """Make a mixture of traffic; how many spans and errors it has."""
    each = max(20, int(rate * seconds / THREADS) // 20 * 20)
    arguments = {"transactions": each, "errors": each // 10, "threads": THREADS}
    application.do("work", rate=rate, children=3, size=200, late=True, **arguments)
    # A root, three children; every tenth has a late one.
    return Counter(span=THREADS * (each * 4 + each // 10), error=THREADS * (each // 10))


def soak(application, far_end, seconds: float, rate: float) -> tuple[Counter, list[int]]:
    """Make traffic and faults in turn; what was made, and resident memory after each turn."""
    made: Counter = Counter()
    memory: list[int] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for mode, length in ((FAULTS[len(memory) % len(FAULTS)], 1.0), (TAKE, 2.0)):
            far_end.become(mode)
            made += _mixed(application, rate, length)
        application.do("flush", seconds=10)
        memory.append(application.do("look")["bytes"])
    return made, memory


def judge(far_end, made: Counter, memory: list[int], before: dict, after: dict, most) -> dict:
    """Return the figures, and whether they are what is promised: ``most`` is that of growth."""
    third = max(1, len(memory) // 3)
    middle, last = (statistics.median(m) for m in (memory[third : 2 * third], memory[-third:]))
    figures = {
        kind: {
            "made": made[kind],
            "sent": far_end.kinds()[kind],
            "counted": far_end.lost(kind),
            "answered by 429": far_end.answered[kind],
        }
        for kind in ("span", "error")
    }
    missing = sum(2 * entry["made"] - sum(entry.values()) for entry in figures.values())
    growth = (last - middle) / middle
    steady = after["threads"] == before["threads"] and after["files"] <= before["files"]
    return {
        **figures,
        "unaccounted for": missing,
        "resident MiB": round(last / 2**20, 1),
        "growth": round(growth, 4),
        "threads": f"{len(before['threads'])} before, {len(after['threads'])} after",
        "files": f"{before['files']} before, {after['files']} after",
        "ok": missing == 0 and growth < most and steady,
    }


def settled(application) -> dict:
    """Look at the application once its idle senders have gone, which takes ten seconds."""
    deadline = time.monotonic() + 30
    while True:
        seen = application.do("look")
        if "otel-sentry.sender" not in seen["threads"] or time.monotonic() > deadline:
            return seen
        time.sleep(0.5)


def main() -> int:
    """Soak, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=100)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        FarEnd(keep=1000) as far_end,
        run_application(Path(directory), far_end.dsn) as application,
    ):
        # All connections are opened, as many as there ever are.
        far_end.become(Mode(delay=0.05))
        made = _mixed(application, 500, 2.0)
        application.do("flush")
        before = settled(application)
        soaked, memory = soak(application, far_end, args.seconds, args.rate)
        application.do("flush", seconds=30)
        most = MAX_GROWTH if args.seconds >= 300 else MAX_GROWTH_AT_FIRST
        figures = judge(far_end, made + soaked, memory, before, settled(application), most)
    print(json.dumps(figures, indent=2))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
