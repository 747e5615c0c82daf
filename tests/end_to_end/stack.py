"""Start the service and the jobs of this folder as a user would."""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_sentry.cli._demo_processes import Child, Processes, accepts_connections, free_port
from otel_sentry.cli._demo_shop import find_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.tail.receiver import Receiver

HERE = Path(__file__).parent
READY_SECONDS = 60

# A worker that is told to end while it starts does not hear it: gunicorn kills it after this time,
# which is half a minute by default.
GUNICORN = ("gunicorn", "service:app", "-k", "uvicorn.workers.UvicornWorker")
GUNICORN += ("-b", "127.0.0.1:{port}", "--graceful-timeout", "10")


def environment(receiver: Receiver | None, **settings: str) -> dict[str, str]:
    """Return the environment of a process that sends to ``receiver``."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "SENTRY_", "PYTEST_"))
    }
    dsn = {"SENTRY_DSN": receiver.dsn} if receiver is not None else {}
    return {**clean, **dsn, "SENTRY_TRACES_SAMPLE_RATE": "1", "PYTHONPATH": str(HERE), **settings}


@dataclass
class Service:
    """A running service."""

    port: int
    child: Child
    processes: Processes

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return status and body of a GET request; a broken body is empty."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=names)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""
        except Exception:  # a body that ends too early
            return -1, ""


@contextlib.contextmanager
def run_service(
    directory: Path,
    receiver: Receiver | None,
    *command: str,
    launcher: bool = True,
    **settings: str,
) -> Iterator[Service]:
    """Run the service under the launcher; by default with uvicorn. ``{port}`` is filled in."""
    port = free_port()
    command = command or ("uvicorn", "service:app", "--host", "127.0.0.1", "--port", "{port}")
    resolved = [find_script(command[0]), *(part.format(port=port) for part in command[1:])]
    start = [find_script("opentelemetry-instrument")] if launcher else []
    with Processes(directory) as processes:
        child = processes.start("service", [*start, *resolved], environment(receiver, **settings))
        processes.wait_for(child, lambda: accepts_connections(port), timeout=READY_SECONDS)
        yield Service(port, child, processes)


@contextlib.contextmanager
def run_worker(
    directory: Path,
    receiver: Receiver,
    redis_url: str,
    *options: str,
    app: str = "jobs:app",
    **settings: str,
) -> Iterator[Child]:
    """Run a Celery prefork worker under the launcher."""
    command = [find_script("opentelemetry-instrument"), find_script("celery"), "-A", app]
    command += ["worker", "--loglevel", "INFO", "--without-mingle", *options]
    with Processes(directory) as processes:
        child = processes.start(
            "worker",
            command,
            environment(receiver, JOBS_REDIS_URL=redis_url, **settings),
        )
        processes.wait_for(child, lambda: " ready." in child.read_log(), timeout=READY_SECONDS)
        yield child


def by_name(receiver: Receiver, name: str) -> list[dict[str, Any]]:
    """Return the transactions of that name."""
    return [event for event in receiver.transactions() if event["transaction"] == name]
