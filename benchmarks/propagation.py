"""
What sampling and propagation cost beside OpenTelemetry's own, and beside sentry-sdk's.

    python benchmarks/propagation.py [--rounds 30] [--instructions]

Everything runs interleaved in one process, and the figures are medians. A request is: read its
headers, start a SERVER span, ten CLIENT spans below it, write the headers of one outgoing request.
`--instructions` counts those of whole processes under valgrind instead, which is steadier.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

CHILDREN = 10
CALLS = 300  # of one contender, before the next one has its turn
FEW, MANY = 200, 600

TRACE, SPAN = "a" * 31 + "1", "1234567890abcdef"
DSC = f"sentry-trace_id={TRACE},sentry-public_key=k,sentry-sample_rate=0.5,sentry-sampled=false"
INCOMING = {
    "traceparent": f"00-{TRACE}-{SPAN}-00",
    "baggage": f"user=alice,{DSC},sentry-sample_rand=0.750000",
    "sentry-trace": f"{TRACE}-{SPAN}-0",
}
ROOT = {"http.request.method": "GET", "http.route": "/items/{item_id}", "url.path": "/items/3"}
CHILD = {"db.system": "postgresql", "db.statement": "SELECT id FROM items WHERE id = %(id_1)s"}


def _otel(sampler, propagator, headers):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanKind

    tracer = TracerProvider(sampler=sampler).get_tracer("benchmark")
    server, client = SpanKind.SERVER, SpanKind.CLIENT

    def request() -> None:
        context = propagator.extract(headers)
        with tracer.start_as_current_span("GET /", context, server, ROOT):
            for _ in range(CHILDREN):
                with tracer.start_as_current_span("SELECT", kind=client, attributes=CHILD):
                    pass
            propagator.inject({})

    return request


def _w3c():
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.propagators.composite import CompositePropagator
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])


def _theirs(rate: float, headers):
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    return _otel(ParentBased(TraceIdRatioBased(rate)), _w3c(), headers)


def _ours(rate: float, headers, **more):
    from otel_sentry.propagation import SentryPropagator
    from otel_sentry.sampling import SentrySampler
    from otel_sentry.sampling.unsampled import Unsampled
    from otel_sentry.settings import Settings

    unsampled = Unsampled()
    unsampled.report_to(lambda _reason, **_: None)
    settings = Settings.from_env({"SENTRY_DSN": "https://key@o1.ingest.sentry.io/42"})
    sampler = SentrySampler(rate, unsampled=unsampled, **more)
    return _otel(sampler, SentryPropagator(settings), headers)


def _native(headers):
    import sentry_sdk

    def request() -> None:
        with sentry_sdk.isolation_scope() as scope:
            transaction = sentry_sdk.continue_trace(headers, op="http.server", name="GET /")
            with sentry_sdk.start_transaction(transaction):
                for _ in range(CHILDREN):
                    with sentry_sdk.start_span(op="db", name=CHILD["db.statement"]):
                        pass
                dict(scope.iter_trace_propagation_headers())

    return request


def contenders():
    """Return what is timed, by name."""
    import sentry_sdk

    # No trace passes; the client reports that nobody answers are not sent in this time.
    sentry_sdk.init("http://key@127.0.0.1:9/1", traces_sample_rate=1e-9)
    out = {"otel": _theirs(0.0, {}), "ours": _ours(0.0, {}), "native": _native({})}
    out["otel, continued"] = _theirs(0.0, INCOMING)
    out["ours, continued"] = _ours(0.0, INCOMING)
    out["native, continued"] = _native(INCOMING)
    out["otel, sampled"] = _theirs(1.0, {})
    out["ours, sampled"] = _ours(1.0, {})
    out["ours, kept for its outcome"] = _ours(0.0, {}, record_unsampled=True)
    return out


def _measure(rounds: int) -> dict[str, float]:
    requests = contenders()
    times: dict[str, list[float]] = {name: [] for name in requests}
    for number in range(rounds + 1):
        for name, request in requests.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                request()
            if number:  # the first round warms up
                times[name].append((time.perf_counter() - started) / CALLS * 1e6)
    return {name: statistics.median(figures) for name, figures in times.items()}


def _count(name: str, requests: int) -> int:
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no"]
    command += ["--cachegrind-out-file=/dev/null", sys.executable, __file__]
    command += ["--run", name, str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    return int(found[1].replace(",", ""))


def main() -> int:
    """Run all contenders and print the table; fail where a promise of the docs is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs=2, metavar=("NAME", "REQUESTS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        request = contenders()[args.run[0]]
        for _ in range(int(args.run[1])):
            request()
        return 0
    if args.instructions:
        figures = {
            name: (_count(name, MANY) - _count(name, FEW)) / (MANY - FEW) / 1000
            for name in contenders()
        }
        unit = "thousand instructions"
    else:
        figures = _measure(args.rounds)
        unit = "µs"
    for name, figure in figures.items():
        print(f"{name:28}{figure:8.1f} {unit}")
    broken = False
    for kind in ("", ", continued"):
        ours, otel, native = (figures[name + kind] for name in ("ours", "otel", "native"))
        print(f"sampled out{kind}: {ours / otel:.2f}x of otel, {ours / native:.2f}x of native")
        broken |= ours > 1.3 * otel or ours > native
    print(f"sampled: {figures['ours, sampled'] / figures['otel, sampled']:.2f}x of otel")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
