"""The demo from the first process to the last line."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from otel_sentry.cli._demo_findings import judge
from otel_sentry.cli._demo_redis import run_redis
from otel_sentry.cli._demo_shop import run_shop
from otel_sentry.cli._demo_show import say, show_findings
from otel_sentry.cli._demo_visit import SECRETS, visit, wait_for_order
from otel_sentry.cli.tail._pending import Pending
from otel_sentry.cli.tail.receiver import Item, Receiver
from otel_sentry.cli.tail.waterfall import print_trace

if TYPE_CHECKING:
    from otel_sentry.cli._demo_findings import Findings
    from otel_sentry.cli._demo_shop import Shop

_ARRIVAL_SECONDS = 20.0
_POLL_SECONDS = 0.5
_QUIET_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """
    What the user chose.

    Attributes:
        redis: The Redis server to start.
        database_url: The shop's database; None for SQLite in a temporary directory.
        dsn: Where the shop sends to; None for a receiver in this process.
        keep: Leave everything running until an interruption.
    """

    redis: str
    database_url: str | None
    dsn: str | None
    keep: bool


def play(options: Options) -> int:
    """Start everything, visit the shop, show what arrived; return the exit status."""
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="otel-sentry-demo-"))
        # Emptied by _keep(); before that only the demo's own requests fill it.
        arrivals: Queue[Item] = Queue()
        on_item = arrivals.put if options.keep else None
        receiver = None if options.dsn else stack.enter_context(Receiver(on_item=on_item))
        dsn = receiver.dsn if receiver else options.dsn or ""
        say("Starting Redis, a web application and a worker, the last two as\n")
        say("    opentelemetry-instrument uvicorn otel_sentry.demo.app:app")
        say("    opentelemetry-instrument celery -A otel_sentry.demo.tasks worker\n")
        redis_url = stack.enter_context(run_redis(options.redis, Path(name)))
        shop = stack.enter_context(
            run_shop(
                Path(name),
                redis_url=redis_url,
                database_url=options.database_url,
                settings={
                    "SENTRY_DSN": dsn,
                    "SENTRY_TRACES_SAMPLE_RATE": "1",
                    "SENTRY_ENVIRONMENT": "demo",
                },
            )
        )
        _show_addresses(shop, redis_url, dsn, options.database_url)
        order = visit(shop.url, lambda request, status: say(f"    {request:<17} {status}"))
        complete = _finish_here(receiver, shop) if receiver else _finish_elsewhere(shop, order, dsn)
        if options.keep:
            _keep(shop, arrivals)
    return 0 if complete else 1


def _show_addresses(shop: Shop, redis_url: str, dsn: str, database_url: str | None) -> None:
    say(f"    web       {shop.url}")
    say(f"    redis     {redis_url}")
    say(f"    database  {_host(database_url) if database_url else 'SQLite, a temporary file'}")
    say(f"    far end   {_host(dsn)}\n")
    if os.environ.get("SENTRY_DSN") not in {None, "", dsn}:
        say("    SENTRY_DSN of this shell is not used; --dsn sends to a project.\n")


def _finish_here(receiver: Receiver, shop: Shop) -> bool:
    """Wait for what the far end must get, and show it."""
    findings = _await_arrival(receiver, shop)
    show_findings(findings, receiver)
    if findings.missing:
        say(shop.processes.describe_logs())
    return not findings.missing and not findings.leaks


def _await_arrival(receiver: Receiver, shop: Shop) -> Findings:
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while True:
        seen = len(receiver.requests)
        findings = judge(receiver.transactions(), receiver.errors(), receiver.bodies, SECRETS)
        if not findings.missing or time.monotonic() > deadline:
            return findings
        shop.processes.check()
        with contextlib.suppress(TimeoutError):
            receiver.wait_for(partial(_has_more, than=seen), timeout=_POLL_SECONDS)


def _has_more(receiver: Receiver, *, than: int) -> bool:
    return len(receiver.requests) > than


def _finish_elsewhere(shop: Shop, order: int | None, dsn: str) -> bool:
    """Wait until the worker is done; what it sent is out of sight."""
    if order is None or not wait_for_order(shop.url, order):
        say("\nThe worker has not completed the order.")
        return False
    say(f"\nSent to {_host(dsn)}: look there for the environment 'demo' and the trace of")
    say("'POST /orders'; stopping the shop sends what is still on its way.")
    return True


def _keep(shop: Shop, arrivals: Queue[Item]) -> None:
    """Leave it running until an interruption, and show what arrives."""
    with contextlib.suppress(Empty):
        while True:
            arrivals.get_nowait()  # of the trace that was shown, and its like
    say(f"\nStill running; try  curl {shop.url}/items/2  and stop it with Ctrl-C.\n")
    pending = Pending(_QUIET_SECONDS)
    while True:
        shop.processes.check()
        with contextlib.suppress(Empty):
            pending.add(arrivals.get(timeout=_POLL_SECONDS), time.monotonic())
        for trace, updated in pending.take_due(time.monotonic()):
            print_trace(trace, updated=updated)
            say("")


def _host(url: str) -> str:
    """Leave out keys and passwords, which are nobody's business on a shared screen."""
    address = urlsplit(url)
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
