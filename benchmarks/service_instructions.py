"""
Instructions executed for one request to the service: steadier than time on a busy machine.

    python benchmarks/service_instructions.py [--peers abdh] [--rate 1] [--empty-dsn]

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peers
from instructions import executed
from peers import RefusedError
from processes import Redis
from sink import Sink

FEW, MANY = 40, 140


def instructions(peer: str, rate: float, number: int, sink: Sink, redis: Redis) -> float:
    """
    Return the instructions of one request.

    Raises:
        RefusedError: The far end has seen no transaction.
        subprocess.CalledProcessError: valgrind or the contender failed.
    """
    few, many = (
        _count(peer, rate, requests, 2 * number + turn, sink, redis)
        for turn, requests in enumerate((FEW, MANY))
    )
    return (many - few) / (MANY - FEW)


def _count(peer: str, rate: float, requests: int, number: int, sink: Sink, redis: Redis) -> int:
    with tempfile.TemporaryDirectory() as directory:
        environ = peers.environment(peer, rate, sink.dsn(number), sink.otlp(number)) | {
            "BENCH_REDIS": redis.url(number),
            "BENCH_DATABASE": str(Path(directory, "service.sqlite")),
        }
        count = executed([__file__, "--worker", str(requests)], environ)
    sends = rate and peer not in peers.SILENT
    if sends and not sink.arrived().get(number, {}).get("roots"):  # the last are on their way
        raise RefusedError(f"({peer}) sent nothing")
    return count


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
        counts = executor.map(
            lambda it: instructions(it[1], args.rate, it[0], sink, redis), enumerate(chosen)
        )
        for peer, count in zip(chosen, counts, strict=True):
            about = peers.PEERS.get(peer, "**otel-sentry**, empty DSN")
            print(f"({peer}) {about:34}{count / 1e6:8.3f} million", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
