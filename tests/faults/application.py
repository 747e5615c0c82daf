"""
An application that does what its standard input says, one JSON line at a time.

The only observability code in it is what counts what it made, and what looks at itself.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

import sentry_sdk
from opentelemetry import trace

logging.basicConfig(level=logging.WARNING, format="LOG %(name)s %(message)s")
tracer = trace.get_tracer("application")


def one(children: int, size: int = 0, *, late: bool = False) -> None:
    """Make one transaction, with so many bytes in each child, and perhaps one that ends late."""
    with tracer.start_as_current_span("GET /work", kind=trace.SpanKind.SERVER):
        for number in range(children):
            with tracer.start_as_current_span("SELECT", kind=trace.SpanKind.CLIENT) as span:
                span.set_attribute("db.system", "postgresql")
                span.set_attribute("db.statement", f"SELECT {number} {'x' * size}")
        if late:
            timer = threading.Timer(0.005, tracer.start_span("late").end)
            timer.start()


def fail() -> None:
    """Capture one error."""
    try:
        raise ValueError("it failed")  # noqa: TRY301
    except ValueError as error:
        sentry_sdk.capture_exception(error)


def work(
    transactions: int = 0,
    errors: int = 0,
    children: int = 3,
    size: int = 0,
    rate: float = 0,
    threads: int = 1,
    late: bool = False,
) -> dict:
    """Make transactions in each thread, at a rate in all (0: as fast as it goes), and errors."""
    seconds: list[float] = []
    rounds = max(transactions, errors)

    def run() -> None:
        due = time.monotonic()
        for number in range(rounds):
            started = time.perf_counter()
            if number < transactions:
                one(children, size, late=late and number % 10 == 0)
            if (number + 1) * errors // rounds > number * errors // rounds:
                fail()
            seconds.append(time.perf_counter() - started)
            if rate:
                due += threads / rate
                time.sleep(max(0.0, due - time.monotonic()))

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    while any(isinstance(thread, threading.Timer) for thread in threading.enumerate()):
        time.sleep(0.01)
    seconds.sort()
    return {"median": seconds[len(seconds) // 2], "slowest": seconds[-1]}


def flush(seconds: float = 20) -> dict:
    """Flush traces and errors."""
    return {"flushed": trace.get_tracer_provider().force_flush(int(seconds * 1000))}


def look() -> dict:
    """Tell what an operator would look at."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


def tally() -> dict:
    """Return what was counted and not reported yet."""
    lost = sentry_sdk.get_client().transport._discarded_events
    return {f"{category} {reason}": number for (category, reason), number in lost.items()}


COMMANDS = {"work": work, "flush": flush, "look": look, "tally": tally}


def main() -> None:
    """Answer until the input ends."""
    print(json.dumps({"ready": os.getpid()}), flush=True)  # noqa: T201
    for line in sys.stdin:
        command = json.loads(line)
        if command.get("do") == "end":
            break
        print(json.dumps(COMMANDS[command.pop("do")](**command)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
