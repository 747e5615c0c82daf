"""
What the launcher costs until the service is imported: ours beside the stock one.

Both load the same instrumentors. The stock one is opentelemetry-distro's, without an exporter, and
the application calls `sentry_sdk.init` itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import peers
from peers import RefusedError
from processes import BIN

_STOCK = """
import sentry_sdk
sentry_sdk.init("http://public@127.0.0.1:9/1")
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
SQLAlchemyInstrumentor().instrument(skip_dep_check=True)
"""
# Refuses where the launcher did not do its work.
_SERVICE = """
import service
from opentelemetry import trace
assert type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.sdk"), "no SDK"
from opentelemetry.instrumentation.redis import RedisInstrumentor
assert RedisInstrumentor().is_instrumented_by_opentelemetry, "not instrumented"
assert __import__("sentry_sdk").get_client().is_active(), "no client"
import os; os._exit(0)
"""


def measure(rounds: int) -> dict:
    """Return {contender: {"cpu": [seconds], "rss": [MiB]}} of interleaved starts."""
    figures: dict = {name: {"cpu": [], "rss": []} for name in ("stock", "ours")}
    for turn in range(rounds + 1):
        for name, into in figures.items():
            cpu, rss = _start(name)
            if turn:  # the first fills the file cache
                into["cpu"].append(cpu)
                into["rss"].append(rss)
    return figures


def _start(name: str) -> tuple[float, float]:
    environ = peers.environment("h" if name == "ours" else "a", 1.0, _DSN, "")
    # The service itself is to set nothing up.
    environ |= {"BENCH_PEER": "a", "BENCH_REDIS": "redis://127.0.0.1:9/0", "BENCH_DATABASE": "x"}
    if name == "stock":
        environ |= {"OTEL_PYTHON_DISTRO": "distro", "OTEL_PYTHON_CONFIGURATOR": "configurator"}
        environ |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
        environ["PYTHONPATH"] += os.pathsep + str(peers.EXTRA_PACKAGES / "distro")
    code = (_STOCK if name == "stock" else "") + _SERVICE
    launcher = str(BIN / "opentelemetry-instrument")
    with tempfile.TemporaryDirectory() as directory, Path(directory, "log").open("w+") as log:
        process = subprocess.Popen(
            [launcher, sys.executable, "-c", code], env=environ, cwd=directory, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RefusedError(f"start-up, {name}: {log.read()[-1000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


_DSN = "http://public@127.0.0.1:9/1"
