"""Run the Collector that collector/builder.yaml describes, with the files of that folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_sentry.cli._demo_processes import Child, Processes, accepts_connections, free_port
from tests.servers import give_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_sentry.cli.tail.receiver import Receiver

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "collector"
SIDECAR = ("sidecar.yaml", "scrubbing.yaml")
SAMPLER = ("gateway/sampler.yaml", "scrubbing.yaml")
TRACE_STATE = "--feature-gates=processor.tailsamplingprocessor.usetracestate"

BINARY_VARIABLE = "OTELCOL_BIN"
_READY_SECONDS = 30
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def find_collector() -> str:
    """Return the path of otelcol: the one that the environment names, else ours, built if need be.

    Without it and without Go the test is skipped, or fails in CI, where nothing may go untested.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        return named
    if shutil.which("go") is None and not _is_built():
        give_up(f"no Collector: install Go and run `make collector`, or set {BINARY_VARIABLE}")
    with (Path(tempfile.gettempdir()) / "otel-sentry-collector.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests in parallel would each build it
        built = subprocess.run([FOLDER / "build.sh"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


def _is_built() -> bool:
    return subprocess.run(
        [FOLDER / "build.sh"], env={**os.environ, "PATH": "/usr/bin:/bin"}, capture_output=True,
        check=False,
    ).returncode == 0  # fmt: skip


@dataclass(frozen=True)
class Collector:
    """A running Collector."""

    child: Child
    grpc_port: int
    http_port: int
    metrics_port: int

    @property
    def url(self) -> str:
        """Where it takes OTLP over HTTP."""
        return f"http://127.0.0.1:{self.http_port}"

    def metric(self, name: str) -> float:
        """Return the sum of one of its own metrics over all labels."""
        with _opener.open(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def kill(self) -> None:
        """Send SIGKILL, and wait until it is gone."""
        self.child.process.kill()
        self.child.process.wait()


def settings(sentry: Receiver | None, storage: Path | None = None, **more: str) -> dict[str, str]:
    """Return the variables of a Collector whose Sentry is ``sentry``, and no others of ours."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL", "SENTRY_")) and not name.lower().endswith("_proxy")
    }
    url = "http://127.0.0.1:9" if sentry is None else sentry.url
    return {
        **clean,
        "SENTRY_OTLP_ENDPOINT": f"{url}/api/1/integration/otlp",
        "SENTRY_PUBLIC_KEY": "public",
        "OTELCOL_STORAGE": str(storage or "/nonexistent"),
        **more,
    }


@contextlib.contextmanager
def run_collector(
    directory: Path,
    *files: str,
    environment: dict[str, str],
    overlay: dict[str, Any] | None = None,
    options: tuple[str, ...] = (),
    name: str = "otelcol",
) -> Iterator[Collector]:
    """Run it until the end of the block, on free ports; ``overlay`` is merged last."""
    ports = [free_port() for _ in range(4)]
    grpc, http, health, metrics = ports
    takes_http = "gateway/sampler.yaml" not in files
    protocols = {"grpc": {"endpoint": f"127.0.0.1:{grpc}"}}
    if takes_http:
        protocols["http"] = {"endpoint": f"127.0.0.1:{http}"}
    reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": metrics}}}}
    moved = {
        "receivers": {"otlp": {"protocols": protocols}},
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{health}"}},
        "service": {"telemetry": {"metrics": {"readers": [reader]}}},
    }
    command = [find_collector(), *options]
    for number, content in enumerate((moved, overlay or {})):
        path = directory / f"{name}-{number}.yaml"
        path.write_text(json.dumps(content))
        files = (*files, str(path))
    command += [part for file in files for part in ("--config", str(FOLDER / file))]
    with Processes(directory) as processes:
        child = processes.start(name, command, environment)
        # It is ready when all its components are.
        processes.wait_for(child, lambda: _is_healthy(health), timeout=_READY_SECONDS)
        processes.wait_for(
            child, lambda: accepts_connections(http if takes_http else grpc), timeout=_READY_SECONDS
        )
        yield Collector(child, grpc, http, metrics)


def wait_until(condition: Callable[[], object], timeout: float) -> None:
    """Wait until the condition holds, and fail if it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.05)


def _is_healthy(port: int) -> bool:
    try:
        with _opener.open(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
