"""
What requests notice of a Sentry that is down: their latency, healthy and broken in turn.

    python benchmarks/outage.py [--rounds 4] [--seconds 2] [--json FILE]

The service of benchmarks/service.py at trace rate 1, sent half of the requests a second that it can
answer. Each fault lasts for a slice of time between two healthy ones, and is compared with their
mean; the ratios of all rounds have a median and quartiles. One of the faults is none: it shows the
noise. A fault costs latency where the median of the p50 ratio is above 1.1, or the lower quartile
of the p99 ratio: p99 is the second slowest request or so of a slice, which any other process on the
machine can double. CPU time is told, too: what else runs changes it least. Exits with 1 if a fault
costs latency, or if anything made is neither sent nor counted; with 2, and writes nothing, where no
fault at all costs latency, too, or scatters so widely: the machine is too busy.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import peers
import report
import run
from faulty_sink import TAKE, UNTRUSTED, FaultySink, Mode
from peers import RefusedError
from processes import ORDER_EVERY, Redis, Service

NONE = "is healthy"
FAULTS = {
    NONE: TAKE,
    "refuses": Mode("refuse"),
    "hangs": Mode("hang"),
    "answers 500": Mode("answer", status=500),
    "429, Retry-After": Mode("answer", status=429, headers={"Retry-After": "1"}),
    "429, X-Sentry-Rate-Limits": Mode(
        "answer", status=429, headers={"X-Sentry-Rate-Limits": "1:transaction;error:key"}
    ),
    "breaks off mid-body": Mode("drop"),
    "has no trusted certificate": UNTRUSTED,
    "is 50 ms away": Mode(delay=0.05),
}
LOAD = 0.5  # of what the service can do
ERRORS = 5  # in each slice
MOST = 1.1
SHARES = {"p50": 0.5, "p99": 0.99}
CPU = "CPU time"
FIGURES = (*SHARES, CPU)
_RECOVERED_SECONDS = 20.0


class Outage:
    """The service and its far end, and what was asked of them; a context manager."""

    def __enter__(self):
        self.failed = 0
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.sink = stack.enter_context(FaultySink(directory))
            redis = stack.enter_context(Redis(directory))
            environ = peers.environment("h", 1.0, self.sink.dsn, "")
            environ["SSL_CERT_FILE"] = str(self.sink.bundle)
            self.service = Service("h", environ, redis.url(0), directory)
            self._running = stack.enter_context(ExitStack())
            self._running.enter_context(self.service)
            self.service.wait_until_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rate(self, requests: int) -> float:
        """Return half of the requests a second that the service can answer, once it is warm."""
        self.service.load(requests)
        started = time.perf_counter()
        self.service.load(requests)
        return LOAD * requests / (time.perf_counter() - started)

    def slice(self, rate: float, seconds: float) -> dict[str, float]:
        """
        Let a few requests fail, then answer others at the rate.

        Returns:
            The milliseconds of those, and of CPU time for each request, that of its task included.
        """
        cpu, requests = self.service.cpu_seconds(), max(10, int(rate * seconds))
        for _ in range(ERRORS):
            client = http.client.HTTPConnection("127.0.0.1", self.service.port)
            client.request("GET", "/items/0")  # there is no such row
            client.getresponse().read()
            client.close()
        self.failed += ERRORS
        took = self.service.load(requests, rate=rate)
        self.service.wait_until_idle()
        spent = (self.service.cpu_seconds() - cpu) / (requests + ERRORS) * 1e3
        return {
            **{it: took[int(share * requests)] * 1e3 for it, share in SHARES.items()},
            CPU: spent,
        }

    def recover(self) -> None:
        """Be healthy again: what is queued leaves, and limits of rates end."""
        self.sink.become(TAKE)
        deadline = time.monotonic() + _RECOVERED_SECONDS
        while time.monotonic() < deadline:
            before = self.sink.arrived()["sent"]["transaction"]
            self.service.load(ORDER_EVERY)
            time.sleep(0.3)
            after = self.sink.arrived()["sent"]["transaction"]
            if after - before == ORDER_EVERY + 1:  # with the task of an order, and nothing older
                return
        raise RefusedError("the service did not recover")

    def fate(self) -> dict[str, dict[str, int]]:
        """End the service, and return what became of its transactions and errors."""
        self._running.close()
        asked = self.service.requests + self.service.orders
        made = {"transaction": asked + self.failed, "error": self.failed}
        arrived = self.sink.arrived()
        return {
            kind: {"made": number, **{fate: counts[kind] for fate, counts in arrived.items()}}
            for kind, number in made.items()
        }


def measure(rounds: int, seconds: float, faults=FAULTS) -> dict:
    """Return each fault's ratios, the healthy latencies, and what became of all that was made."""
    ratios: dict = {name: {key: [] for key in FIGURES} for name in faults}
    with Outage() as outage:
        rate = outage.rate(max(50, int(100 * seconds)))
        outage.recover()
        healthy = [outage.slice(rate, seconds)]
        for _ in range(rounds):
            for name, mode in faults.items():
                outage.sink.become(mode)
                broken = outage.slice(rate, seconds)
                outage.recover()
                healthy.append(outage.slice(rate, seconds))
                for key, value in broken.items():
                    beside = (healthy[-2][key] + healthy[-1][key]) / 2
                    ratios[name][key].append(value / beside)
        fate = outage.fate()
    base = {key: median(one[key] for one in healthy) for key in FIGURES}
    return {"rate": rate, "healthy_ms": base, "ratios": ratios, "fate": fate}


def costs(ratios: dict[str, list[float]]) -> bool:
    """Return whether a fault costs latency."""
    return report.spread(ratios["p50"])[0] > MOST or report.spread(ratios["p99"])[1] > MOST


def too_busy(none: dict[str, list[float]]) -> bool:
    """Return whether the machine is too busy to tell: no fault at all scatters as widely."""
    return costs(none) or report.spread(none["p50"])[2] > MOST


def missing(fate: dict[str, dict[str, int]]) -> int:
    """Return how much was neither sent nor counted; what was sent, but not answered, is both."""
    return sum(max(0, 2 * one["made"] - sum(one.values())) for one in fate.values())


def text(figures: dict) -> str:
    """Return the table, and below it what became of all that was made."""
    healthy = ", ".join(f"{key} {value:.1f} ms" for key, value in figures["healthy_ms"].items())
    lines = [f"healthy: {healthy}, at {figures['rate']:.0f} requests a second", ""]
    lines += [f"{'while the far end':26}" + "".join(f" {key + ', ratio':>22}" for key in FIGURES)]
    for name, ratios in figures["ratios"].items():
        cells = ("{:.2f} ({:.2f} to {:.2f})".format(*report.spread(it)) for it in ratios.values())
        verdict = " costs latency" if costs(ratios) else ""
        lines.append(f"{name:26}" + "".join(f" {cell:>22}" for cell in cells) + verdict)
    for kind, one in figures["fate"].items():
        lines += ["", f"{kind}s: " + ", ".join(f"{number} {fate}" for fate, number in one.items())]
    return "\n".join(lines)


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a slice")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = run._short({**measure(args.rounds, args.seconds), "about": run._about()})
    print(text(figures))
    if too_busy(figures["ratios"][NONE]):
        print("REFUSED: the machine is too busy, see the first line", file=sys.stderr)
        return 2
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(missing(figures["fate"]) > 0 or any(map(costs, figures["ratios"].values())))


if __name__ == "__main__":
    sys.exit(main())
