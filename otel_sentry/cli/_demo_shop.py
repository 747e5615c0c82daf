"""Run the demo shop as its operator would: uvicorn and Celery under the stock launcher."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli._demo_processes import Child, Processes, accepts_connections, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The first start after an installation compiles a few thousand modules.
_READY_SECONDS = 60.0
_WEB_COMMAND = ("uvicorn", "otel_sentry.demo.app:app", "--host", "127.0.0.1")
_WORKER_COMMAND = ("celery", "-A", "otel_sentry.demo.tasks:celery_app", "worker")
# A worker that looks for others waits a second for their answers.
_WORKER_OPTIONS = ("--concurrency", "2", "--loglevel", "INFO", "--without-mingle")


@dataclass(frozen=True)
class Shop:
    """
    A running shop.

    Attributes:
        url: Where its web application listens.
        processes: The web application and the worker.
    """

    url: str
    processes: Processes


@contextlib.contextmanager
def run_shop(
    directory: Path, *, redis_url: str, database_url: str | None, settings: Mapping[str, str]
) -> Iterator[Shop]:
    """
    Start the web application and the worker, and wait until both are ready.

    Args:
        directory: Where the logs go, and the database unless another one is named.
        redis_url: Databases 0 and 1 of this Redis become the cache and the broker.
        database_url: A PostgreSQL database; None means SQLite in the directory.
        settings: The observability variables; none means to start without the launcher.
    """
    port = free_port()
    environment = {
        **_without_observability(os.environ),
        "SHOP_DATABASE_URL": database_url or f"sqlite:///{directory / 'shop.db'}",
        "SHOP_REDIS_URL": f"{redis_url}/0",
        "SHOP_BROKER_URL": f"{redis_url}/1",
        # A proxy of the user's must not get between the shop and a far end on this machine.
        "NO_PROXY": ",".join(filter(None, ("127.0.0.1", os.environ.get("NO_PROXY")))),
        "no_proxy": ",".join(filter(None, ("127.0.0.1", os.environ.get("no_proxy")))),
        **settings,
    }
    launcher = [find_script("opentelemetry-instrument")] if settings else []
    with Processes(directory) as processes:
        web = _start(processes, "web", [*launcher, *_WEB_COMMAND, "--port", str(port)], environment)
        worker = _start(
            processes, "worker", [*launcher, *_WORKER_COMMAND, *_WORKER_OPTIONS], environment
        )
        processes.wait_for(web, lambda: accepts_connections(port), timeout=_READY_SECONDS)
        processes.wait_for(worker, lambda: " ready." in worker.read_log(), timeout=_READY_SECONDS)
        yield Shop(f"http://127.0.0.1:{port}", processes)


def find_script(name: str) -> str:
    """Return the path of a console script of this environment, which may not be on PATH."""
    folders = (sysconfig.get_path("scripts"), str(Path(sys.executable).parent))
    found = shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)
    if found is None:
        message = f"{name} is not there: pip install --force-reinstall 'otel-sentry[demo]'"
        raise FileNotFoundError(message)
    return found


def _start(
    processes: Processes, service: str, command: list[str], environment: Mapping[str, str]
) -> Child:
    settings = {"OTEL_SERVICE_NAME": f"shop-{service}"} if "SENTRY_DSN" in environment else {}
    resolved = [find_script(part) if part in {"uvicorn", "celery"} else part for part in command]
    return processes.start(service, resolved, {**environment, **settings})


def _without_observability(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what the user has set for other programs: the demo shows the defaults."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("OTEL_", "SENTRY_"))
    }
