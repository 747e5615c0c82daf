"""
Spans per CPU second of the sidecar, with and without scrubbing.

    python benchmarks/collector.py
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.collector.otlp import Sent, encode, post
from tests.collector.running import SIDECAR, run_collector, settings

REQUESTS = 20
ATTRIBUTES = {
    "http.request.method": "GET",
    "http.route": "/items/{item_id}",
    "url.path": "/items/12345",
    "url.scheme": "http",
    "server.address": "shop.example",
    "server.port": "8000",
    "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0",
    "network.protocol.version": "1.1",
    "db.system": "postgresql",
    "db.statement": "SELECT items.id, items.name, items.price FROM items WHERE items.id = %(pk_1)s",
    "sentry.op": "http.server",
    "sentry.release": "shop@1.2.3",
    "sentry.environment": "production",
    "thread.name": "MainThread",
    "code.function": "read_item",
}


def measure(processors: list[str]) -> float:
    """Return accepted spans per CPU second, with 15 attributes each and the queue on disk."""
    overlay = {
        "service": {"pipelines": {"traces": {"processors": processors}}},
        "exporters": {"otlp_http/sentry": {"retry_on_failure": {"initial_interval": "30s"}}},
    }
    body = encode(Sent(n, n, attributes=ATTRIBUTES) for n in range(1, 501))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = settings(None, directory / "storage")
        with run_collector(
            directory, *SIDECAR, environment=environment, overlay=overlay
        ) as sidecar:
            before = cpu_seconds(sidecar.child.process.pid)
            for _ in range(REQUESTS):
                assert post(sidecar.url, body) == 200
            return REQUESTS * 500 / (cpu_seconds(sidecar.child.process.pid) - before)


def cpu_seconds(pid: int) -> float:
    """Return what the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    for processors in (
        ["memory_limiter", "transform/scrub", "redaction/scrub"],
        ["memory_limiter"],
    ):
        print(f"{measure(processors):8.0f} spans/CPU s: {', '.join(processors)}")
