"""
Everything that `make bench` measures: contenders side by side in one run, bursts interleaved.

    python benchmarks/run.py [--quick] [--parts micro,service,...] [--peers abdeh] [--json FILE]

Prints tables and bars, and writes the figures. Nothing is reported where a contender sent nothing
or lost something. docs/overhead.md says what is measured, and how.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import memory
import peers
import report
import startup
from micro import SPANS_A_SECOND, WARM_UP, Contender
from peers import RefusedError
from processes import Redis, Service
from sink import Sink

SETTLE = 0.3  # seconds; longer than OTEL_BSP_SCHEDULE_DELAY
LOAD = 0.6
OPEN_LOOP_PEERS = "bdehj"
_PROJECTS = 100  # numbers for each trace rate


def micro(args) -> dict:
    """Return {rate: {children: {peer: {"request": [...], "total": [...]}}}}, µs a trace."""
    figures: dict = {}
    for start in range(args.starts):
        _micro(args, start, figures)
    return figures


def _micro(args, start: int, figures: dict) -> None:
    """Add the rounds of one start."""
    plan = [(1.0, 10, 1.0), (1.0, 1, 0.3), (1.0, 100, 0.5), (1.0, 1000, 1.4)]
    plan += [(0.0, 10, 0.5), (0.1, 10, 0.5)]
    with Sink() as sink, ExitStack() as stack:
        contenders = {}
        for count, rate in enumerate(peers.RATES):
            for number, peer in enumerate(args.peers):
                project = count * _PROJECTS + number
                one = Contender(peer, rate, sink.dsn(project), sink.otlp(project))
                contenders[peer, rate] = project, stack.enter_context(one)
        for _, one in contenders.values():
            one.burst(10, WARM_UP)
        for turn in _turns(args, start):
            for rate, children, seconds in plan:
                traces = max(2, int(seconds * SPANS_A_SECOND / (children + 1)))
                into = figures.setdefault(str(rate), {}).setdefault(str(children), {})
                for peer in _rotated(args.peers, turn):
                    spent = contenders[peer, rate][1].burst(children, traces)
                    for key, value in spent.items():
                        into.setdefault(peer, {}).setdefault(key, []).append(value)
        arrived = sink.arrived()
    for (peer, rate), (project, one) in contenders.items():
        check(peer, rate, one.made["traces"], 0, arrived.get(project, {}))


def service(args) -> dict:
    """Return {"cpu": {rate: {peer: [...]}}, "open_loop": {rate: ...}}, µs a request."""
    figures: dict = {"cpu": {}, "open_loop": {}}
    for rate in args.rates:
        for start in range(args.starts):
            print(f"service at trace rate {rate:g}, start {start + 1} ...", file=sys.stderr)
            _service(args, rate, start, figures)
    return figures


def _service(args, rate: float, start: int, figures: dict) -> None:
    """Add the rounds of one start."""
    cpu = figures["cpu"].setdefault(str(rate), {})
    with _services(args.peers, rate) as (sink, services):
        for turn in _turns(args, start):
            for peer in _rotated(args.peers, turn):
                spent = _cpu_of_a_request(services[peer], args.requests)
                cpu.setdefault(peer, []).append(spent)
        if rate and "h" in services:
            _open_loop(services, args, start, figures["open_loop"].setdefault(str(rate), {}))
        # Too short a wait cannot make a wrong figure: what has not arrived is refused.
        time.sleep(3 * SETTLE)
        arrived = sink.arrived()
    for number, (peer, one) in enumerate(services.items()):
        check(peer, rate, one.requests, one.orders, arrived.get(number, {}))


def _cpu_of_a_request(one: Service, requests: int, settle: float = SETTLE) -> float:
    """Return microseconds, once all has left."""
    before = one.cpu_seconds()
    one.load(requests)
    one.wait_until_idle()
    time.sleep(settle)
    return (one.cpu_seconds() - before) / requests * 1e6


def _open_loop(services: dict[str, Service], args, start: int, figures: dict) -> None:
    """
    Add the latencies at a fixed rate, in milliseconds; the same rate for all, at each start.

    It is 60 % of what (h) answers at most, in a closed loop.
    """
    chosen = [peer for peer in OPEN_LOOP_PEERS if peer in services]
    if not figures:
        started = time.perf_counter()
        services["h"].load(args.requests)
        figures["rate"] = LOAD * args.requests / (time.perf_counter() - started)
        figures["peers"] = {peer: {"p50": [], "p99": []} for peer in chosen}
    rate = figures["rate"]
    requests = int(rate * args.open_seconds)
    for turn in _turns(args, start):
        for peer in _rotated(chosen, turn):
            latencies = services[peer].load(requests, rate=rate)
            services[peer].wait_until_idle()
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                value = latencies[int(share * len(latencies))] * 1e3
                figures["peers"][peer][name].append(value)


def _turns(args, start: int) -> range:
    """Return the numbers of a start's rounds; the processes of one program differ, too."""
    return range(start * args.rounds // args.starts, (start + 1) * args.rounds // args.starts)


def empty_dsn(args) -> dict:
    """Return CPU time a request with the launcher and no DSN, as a share of that without both."""
    ratios = []
    for _ in range(args.pairs):  # new processes: see _turns
        with _services("a", 0.0, also_off=True) as (_, services):
            for turn in range(args.alternations):
                spent = {
                    peer: _cpu_of_a_request(services[peer], args.requests // 2, settle=0)
                    for peer in _rotated(list(services), turn)
                }
                ratios.append(spent[peers.OFF] / spent["a"])
    return {"ratios": ratios}


class _services:  # noqa: N801 - reads as the function it is
    """Run the service under each contender, all at once, warmed up."""

    def __init__(self, chosen: str, rate: float, *, also_off: bool = False) -> None:
        self._chosen, self._rate = [*chosen, *([peers.OFF] if also_off else [])], rate
        self._stack = ExitStack()

    def __enter__(self):
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        sink = self._stack.enter_context(Sink())
        redis = self._stack.enter_context(Redis(directory))
        services = {}
        try:
            for number, peer in enumerate(self._chosen):
                environ = peers.environment(peer, self._rate, sink.dsn(number), sink.otlp(number))
                one = Service(peer, environ, redis.url(number), directory)
                services[peer] = self._stack.enter_context(one)
            for one in services.values():
                one.wait_until_ready()
            for one in services.values():
                one.load(300)
                one.wait_until_idle()
        except BaseException:
            self._stack.close()
            raise
        return sink, services

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def check(peer: str, rate: float, requests: int, orders: int, arrived: dict) -> None:
    """
    Compare what a contender was asked to do with what arrived.

    Raises:
        RefusedError: Something is missing: figures of work that was not done are worth nothing.
    """
    if peer in peers.SILENT:
        return
    expected = rate * (requests + orders)
    # Five standard deviations of a fair sampler; an order's two roots share one decision.
    least = expected - 5 * (rate * (1 - rate) * (requests + 3 * orders)) ** 0.5
    roots, lost = arrived.get("roots", 0), arrived.get("lost", 0)
    what = f"({peer}) {peers.PEERS[peer]} at rate {rate}"
    if roots < least or lost:
        raise RefusedError(
            f"{what}: {roots} of about {expected:.0f} transactions arrived, {lost} reported lost"
        )
    if rate and not arrived.get("spans"):
        raise RefusedError(f"{what} sent nothing")


def _rotated(items, turn: int) -> list:
    """Let each contender come after each other one."""
    turn %= len(items)
    return [*items[turn:], *items[:turn]]


def _about() -> dict:
    names = ("opentelemetry-sdk", "opentelemetry-instrumentation", "sentry-sdk", "fastapi")
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in (*names, "celery", "sqlalchemy")},
    }


PARTS = {
    "micro": micro,
    "service": service,
    "empty_dsn": empty_dsn,
    "startup": lambda args: startup.measure(args.rounds),
    "memory": lambda _: memory.buffered(),
}


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="two rounds: shows that it works")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--peers", default="".join(peers.PEERS), help="letters")
    parser.add_argument("--rates", default="0,0.1,1", help="of the service")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--starts", type=int, default=3, help="of all processes, within the rounds")
    parser.add_argument("--requests", type=int, default=200, help="of a burst")
    parser.add_argument("--open-seconds", type=float, default=2.5, help="of a burst")
    parser.add_argument("--pairs", type=int, default=9, help="of processes, with an empty DSN")
    parser.add_argument("--alternations", type=int, default=5, help="of each pair")
    parser.add_argument("--json", type=Path, help="parts that were not measured keep their figures")
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.starts, args.open_seconds = 2, 1, 1.0
        args.pairs, args.alternations = 1, 4
    args.rates = [float(rate) for rate in args.rates.split(",")]
    figures = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    for name in args.parts.split(","):
        started = time.monotonic()
        try:
            figures[name] = PARTS[name](args)
        except RefusedError as error:
            print(f"REFUSED, nothing is reported: {name}: {error}", file=sys.stderr)
            return 2
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    figures["about"] = _about()
    bars = report.bars(figures)
    print(report.text(figures, bars))
    if args.json:
        written = json.dumps(_short(figures), indent=1)
        args.json.write_text(re.sub(r"(?<=[\[\d,])\n *(?=[-\d\]])", "", written) + "\n")
    if args.svg:
        args.svg.write_text(report.svg(figures))
    return int(any(not bar.held for bar in bars))


def _short(value):
    """Round figures to four digits: more say nothing, and make the file long."""
    if isinstance(value, dict):
        return {key: _short(it) for key, it in value.items()}
    if isinstance(value, list):
        return [_short(it) for it in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
