"""
Deliver transactions to a Sentry 50 ms away, ours beside sentry-sdk's native tracing.

    python benchmarks/delivery.py [--seconds 20] [--rate 300] [--round-trip 0.05]

Each makes transactions at the same rate, errors in between, each in a process of its own, and then
has ten seconds to flush. `delivered/s` is what arrived, by the time from the first to the last
arrival. Exits with 1 where ours loses anything, or delivers less than 15 times as much a second.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.faults.driver import CONFIGURED, environment
from tests.faults.far_end import FarEnd, Mode

FLUSH_SECONDS = 10
BAR = 15

OURS = f"{CONFIGURED}\nimport application\nmake = lambda: application.one(3)\n"
NATIVE = """
import os, sentry_sdk, application
sentry_sdk.init(os.environ["SENTRY_DSN"], traces_sample_rate=1.0, auto_enabling_integrations=False)
def make():
    with sentry_sdk.start_transaction(op="http.server", name="GET /work"):
        for number in range(3):
            with sentry_sdk.start_span(op="db", name=f"SELECT {number}"): pass
"""
RUN = """
import time, sentry_sdk
due = time.monotonic()
for number in range({count}):
    make()
    if number % 100 == 0: application.fail()
    due += 1 / {rate}
    time.sleep(max(0.0, due - time.monotonic()))
spent = time.process_time()
sentry_sdk.flush({flush})
print(spent)
"""


def deliver(setup: str, seconds: float, rate: float, round_trip: float) -> dict:
    """Return what one contender made and delivered."""
    count = int(seconds * rate)
    with FarEnd() as far_end:
        far_end.become(Mode(delay=round_trip))
        code = setup + RUN.format(count=count, rate=rate, flush=FLUSH_SECONDS)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(far_end.dsn),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds * 4 + 60,
        )
        times = [when for when, kind in far_end.arrivals if kind == "transaction"]
        kinds = far_end.kinds()
    return {
        "made": count,
        "delivered": kinds["transaction"],
        "errors": kinds["error"],
        "errors made": (count + 99) // 100,
        "a second": kinds["transaction"] / max(1e-9, times[-1] - times[0]),
        "cpu": float(done.stdout.split()[-1]) / count * 1e6,
    }


def main() -> int:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--round-trip", type=float, default=0.05)
    args = parser.parse_args()
    results = {}
    print(f"{'':16}{'made':>8}{'delivered':>11}{'errors':>9}{'delivered/s':>13}{'CPU µs':>9}")
    for name, setup in (("otel-sentry", OURS), ("sentry-sdk", NATIVE)):
        result = results[name] = deliver(setup, args.seconds, args.rate, args.round_trip)
        print(
            f"{name:16}{result['made']:8}{result['delivered']:11}"
            f"{result['errors']:>5}/{result['errors made']:<3}{result['a second']:13.0f}"
            f"{result['cpu']:9.0f}"
        )
    ours, native = results["otel-sentry"], results["sentry-sdk"]
    ratio = ours["a second"] / native["a second"]
    print(f"ratio of delivered/s: {ratio:.1f} (bar: {BAR})")
    whole = ours["delivered"] == ours["made"] and ours["errors"] == ours["errors made"]
    return 0 if whole and ratio >= BAR * min(1.0, args.rate / 300) else 1


if __name__ == "__main__":
    sys.exit(main())
