"""
Instructions executed for one request to the service: steadier than time on a busy machine.

    python benchmarks/service_instructions.py [--peers abdh] [--rate 1] [--empty-dsn] [--threads]

The service's application is called in the process, without a server and without a network to it;
Redis and the far end are real. Each contender runs twice under valgrind, with 40 and with 140
requests, and the difference is what 100 of them cost, background threads and sending included. What
threads cost each other, and the kernel, is not in it: see `run.py --parts service`. A contender
that sent nothing is named, and ends it. Needs valgrind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import peers
from instructions import executed, executed_by_thread
from peers import RefusedError
from processes import Redis
from sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable

FEW, MANY = 40, 140


def _all_threads(command: list[str], environ: dict[str, str]) -> Counter[int]:
    return Counter({1: executed(command, environ)})


def instructions(
    peer: str,
    rate: float,
    number: int,
    sink: Sink,
    redis: Redis,
    count: Callable[..., Counter[int]] = _all_threads,
) -> Counter[int]:
    """
    Return the instructions of one request, by thread as far as ``count`` tells them apart.

    Raises:
        RefusedError: The far end has seen no transaction.
        subprocess.CalledProcessError: valgrind or the contender failed.
    """
    few, many = (
        _count(peer, rate, requests, 2 * number + turn, sink, redis, count)
        for turn, requests in enumerate((FEW, MANY))
    )
    return Counter({one: (many[one] - few[one]) // (MANY - FEW) for one in many})


def _count(
    peer: str,
    rate: float,
    requests: int,
    number: int,
    sink: Sink,
    redis: Redis,
    count: Callable[..., Counter[int]],
) -> Counter[int]:
    with tempfile.TemporaryDirectory() as directory:
        environ = peers.environment(peer, rate, sink.dsn(number), sink.otlp(number)) | {
            "BENCH_REDIS": redis.url(number),
            "BENCH_DATABASE": str(Path(directory, "service.sqlite")),
        }
        counts = count([__file__, "--worker", str(requests)], environ)
    sends = rate and peer not in peers.SILENT
    if sends and not sink.arrived().get(number, {}).get("roots"):  # the last are on their way
        raise RefusedError(f"({peer}) sent nothing")
    return counts


def _worker(requests: int) -> None:
    if os.environ["BENCH_PEER"] in peers.LAUNCHED:
        from opentelemetry.instrumentation.auto_instrumentation import initialize

        initialize()
    import service

    service.create_tables()
    asyncio.run(_call(service.app, requests))
    os._exit(0)  # what is still to be sent is the same for few requests and for many


async def _call(app, requests: int) -> None:
    for number in range(requests):
        answers: list[dict] = []
        waiting = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive(waiting=waiting):
            return waiting.pop() if waiting else await asyncio.sleep(3600)

        async def send(message, answers=answers):
            answers.append(message)

        path = f"/items/{number % 100 + 1}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
        }
        scope |= {"method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"root_path": "", "headers": [(b"host", b"shop.example"), (b"accept", b"*/*")]}
        scope |= {"client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8000), "state": {}}
        await app(scope, receive, send)
        if answers[0]["status"] != 200:
            sys.exit(f"a request failed: {answers}")


def main() -> int:
    """Count, two contenders at a time, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--peers", default="abdh", help="letters: see benchmarks/peers.py")
    parser.add_argument("--rate", type=float, default=1.0, help="trace rate")
    parser.add_argument("--empty-dsn", action="store_true", help="also ours with an empty DSN")
    parser.add_argument("--threads", action="store_true", help="also each thread's; takes longer")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _worker(args.worker)
        return 0
    with (
        tempfile.TemporaryDirectory() as name,
        Sink() as sink,
        Redis(Path(name)) as redis,
        ThreadPoolExecutor(2) as executor,
    ):
        chosen = [*args.peers, *([peers.OFF] if args.empty_dsn else [])]
        count = executed_by_thread if args.threads else _all_threads
        counts = executor.map(
            lambda it: instructions(it[1], args.rate, it[0], sink, redis, count), enumerate(chosen)
        )
        for peer, threads in zip(chosen, counts, strict=True):
            about = peers.PEERS.get(peer, "**otel-sentry**, empty DSN")
            each = " + ".join(f"{threads[one] / 1e6:.2f}" for one in sorted(threads))
            whole = f"{threads.total() / 1e6:8.3f} million"
            print(f"({peer}) {about:34}{whole}{f' = {each}' if args.threads else ''}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
