"""Start all neighbours, each in a process of its own with a far end of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli._demo_processes import Processes, accepts_connections, free_port
from otel_sentry.cli._demo_shop import find_script
from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import READY_SECONDS, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.tail.receiver import Item

HERE = Path(__file__).parent
NODE = HERE / "node"
WEB = ("bridge", "native", "native-drop", "errors-only", "otlp-integration", "opentelemetry")
NODES = ("node", "node-errors-only")
WORKERS = ("bridge", "native", "otlp-integration", "opentelemetry")
_STOPS = (*WEB, *NODES, *(f"celery:{kind}" for kind in WORKERS))

_OLDEST_NODE = (20, 19)


@dataclass(frozen=True)
class Record:
    """A local root that arrived at a far end."""

    trace: str
    text: str
    """What may hold the mark of its hop."""
    context: dict[str, str]
    """The sampling context that it came with."""


@dataclass
class Fleet:
    """The running neighbours."""

    urls: dict[str, str]
    receivers: dict[str, Receiver]

    def records(self, kind: str, mark: str) -> list[Record]:
        """Return the roots of a hop."""
        found = (_record(item) for item in self.receivers[kind].items)
        return [record for record in found if record is not None and mark in record.text]


def _record(item: Item) -> Record | None:
    fields, context = item.fields, item.envelope_headers.get("trace") or {}
    if item.kind == "transaction":
        trace = fields["contexts"]["trace"]
        text = [fields.get("transaction"), (fields.get("request") or {}).get("url")]
        text += (trace.get("data") or {}).values()
        text += (fields.get("tags") or {}).values()  # sentry-sdk puts the id of a task there
        return Record(trace["trace_id"], " ".join(map(str, text)), context)
    if item.kind == "span" and fields.get("is_segment"):
        return Record(fields["trace_id"], str(fields.get("attributes")), context)
    if item.kind == "otlp_span" and fields["kind"] in {"SERVER", "CONSUMER"}:
        return Record(fields["trace_id"], str(fields["attributes"]), {})
    return None


def node_folder() -> Path | str:
    """Return where Sentry's SDK for Node.js is installed; a text says why it is not."""
    node = shutil.which("node")
    if node is None:
        return "no node: install Node.js 20.19 or later"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST_NODE:
        return f"Node.js {version.strip()} is too old for @sentry/node: install 20.19 or later"
    done = subprocess.run(
        [NODE / "install.sh", "--print"], capture_output=True, text=True, check=False
    )
    folder = Path(done.stdout.strip())
    return folder if done.returncode == 0 else "@sentry/node is not installed: make neighbours"


@contextlib.contextmanager
def run_fleet(directory: Path, redis_url: str, node: Path | None) -> Iterator[Fleet]:
    """Run all of them; the end of the block stops them, and what was received stays readable."""
    with contextlib.ExitStack() as stack:
        fleet = Fleet({}, {kind: stack.enter_context(Receiver()) for kind in _STOPS})
        # Ends first: what a process sends at its end, arrives.
        processes = stack.enter_context(Processes(directory))
        waiting = []
        for kind in (*WEB, *(NODES if node else ())):
            port = free_port()
            fleet.urls[kind] = f"http://127.0.0.1:{port}"
            variables = _variables(kind, fleet.receivers[kind], redis_url)
            if kind in NODES:
                command = _node_command(directory, node)
                variables["PORT"] = str(port)
            else:
                command = [find_script("uvicorn"), "hop:app", "--port", str(port)]
                command = _launched(kind) + command
            child = processes.start(kind, command, variables)
            waiting.append((child, lambda port=port: accepts_connections(port)))
        for kind in WORKERS:
            command = [*_launched(kind), find_script("celery"), "-A", "hop:worker", "worker"]
            # The bridge flushes in pool processes; others need a hook for that, or one process.
            command += ["--pool", "prefork" if kind == "bridge" else "solo", "--concurrency", "1"]
            command += ["--loglevel", "INFO", "--without-mingle", "--without-gossip", "-Q", kind]
            variables = _variables(kind, fleet.receivers[f"celery:{kind}"], redis_url)
            child = processes.start(f"celery-{kind}", command, variables)
            waiting.append((child, lambda child=child: " ready." in child.read_log()))
        for child, ready in waiting:
            processes.wait_for(child, ready, timeout=READY_SECONDS)
        yield fleet


def _variables(kind: str, receiver: Receiver, redis_url: str) -> dict[str, str]:
    paths = [str(HERE), str(HERE.parents[2])]
    variables = environment(receiver, NEIGHBOUR=kind, NEIGHBOURS_REDIS_URL=redis_url)
    variables["PYTHONPATH"] = os.pathsep.join(paths)
    del variables["SENTRY_TRACES_SAMPLE_RATE"]
    if kind == "bridge":
        variables["SENTRY_TRACES_SAMPLE_RATE"] = "0.999999"
        variables["OTEL_SENTRY_SAMPLING_RULES"] = "GET /drop*=0.000001"
    if kind == "opentelemetry":
        del variables["SENTRY_DSN"]
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url
    return variables


def _launched(kind: str) -> list[str]:
    return [find_script("opentelemetry-instrument")] if kind == "bridge" else []


def _node_command(directory: Path, node: Path | None) -> list[str]:
    for name in ("setup.mjs", "hop.mjs"):
        shutil.copy(NODE / name, directory)
    modules = directory / "node_modules"
    if not modules.exists():
        modules.symlink_to(f"{node}/node_modules")
    return [shutil.which("node") or "node", "--import", "./setup.mjs", "hop.mjs"]
