"""
Whose code the service's web process spends its CPU time in.

    pip install py-spy
    python benchmarks/profile_service.py [--peer h] [--rate 1] [--seconds 15]

Samples the thread that holds the GIL while the service is loaded. A sample belongs to the innermost
frame of a known package: what the standard library does is charged to who called it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import peers
from processes import Redis, Service
from sink import Sink

OWNERS = {
    "otel_sentry/": "otel-sentry",
    "opentelemetry/instrumentation/": "OpenTelemetry, instrumentation",
    "opentelemetry/": "OpenTelemetry, SDK and API",
    "sentry_sdk/": "sentry-sdk",
    "logfire/": "logfire",
    "fastapi/": "FastAPI, Starlette, uvicorn",
    "starlette/": "FastAPI, Starlette, uvicorn",
    "uvicorn/": "FastAPI, Starlette, uvicorn",
    "anyio/": "FastAPI, Starlette, uvicorn",
    "h11/": "FastAPI, Starlette, uvicorn",
    "pydantic/": "FastAPI, Starlette, uvicorn",
    "sqlalchemy/": "SQLAlchemy",
    "redis/": "Redis",
    "celery/": "Celery",
    "kombu/": "Celery",
}
_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^:()]*)(:\d+)?\)")

_SHOWN = re.compile(r"(otel_sentry|sentry_sdk)/.*")


def owner(file: str) -> str | None:
    """Return whose a file is."""
    return next((name for part, name in OWNERS.items() if part in file), None)


def shares(lines: list[str]) -> tuple[Counter, Counter, Counter]:
    """Return the samples by owner, and by function of ours or sentry-sdk's: own, with callees."""
    owners: Counter = Counter()
    own: Counter = Counter()
    whole: Counter = Counter()
    for line in lines:
        stack, _, text = line.rpartition(" ")
        count = int(text)
        frames = [found for frame in stack.split(";") if (found := _FRAME.fullmatch(frame))]
        innermost = next((it for it in reversed(frames) if owner(it["file"])), None)
        owners[owner(innermost["file"]) if innermost else "other"] += count
        if innermost and (name := _shown(innermost)):
            own[name] += count
        whole.update(dict.fromkeys({name for it in frames if (name := _shown(it))}, count))
    return owners, own, whole


def _shown(frame: re.Match) -> str | None:
    file = _SHOWN.search(frame["file"])
    return f"{file[0]}: {frame['function']}" if file else None


def main() -> int:
    """Load the service, sample it, print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--peer", default="h")
    parser.add_argument("--rate", type=float, default=1.0, help="trace rate")
    parser.add_argument("--seconds", type=int, default=15)
    args = parser.parse_args()
    spy = shutil.which("py-spy")
    if spy is None:
        sys.exit("py-spy is missing: pip install py-spy")
    with tempfile.TemporaryDirectory() as name, Sink() as sink, Redis(Path(name)) as redis:
        environ = peers.environment(args.peer, args.rate, sink.dsn(1), sink.otlp(1))
        with Service(args.peer, environ, redis.url(0), Path(name)) as service:
            service.wait_until_ready()
            service.load(500)
            before, requests = service.cpu_seconds(), service.requests
            command = [spy, "record", "--format", "raw", "--full-filenames", "--nolineno"]
            command += ["--gil", "--rate", "250", "--duration", str(args.seconds)]
            command += ["--output", f"{name}/stacks", "--pid", str(service.web_pid)]
            with subprocess.Popen(command, stdout=-3, stderr=-3) as recording:
                end = time.monotonic() + args.seconds
                while time.monotonic() < end:
                    service.load(100)
                recording.wait()
            spent = (service.cpu_seconds() - before) / (service.requests - requests)
        owners, own, whole = shares(Path(name, "stacks").read_text().splitlines())
    print(f"({args.peer}) at {args.rate:g}: {spent * 1e6:.0f} µs of CPU a request")
    samples = owners.total()
    for label, count in owners.most_common():
        print(f"{count / samples:8.1%}  {label}")
    print("\n     own  with what it calls")
    for label, count in own.most_common(40):
        print(f"{count / samples:8.1%}{whole[label] / samples:8.1%}  {label}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
