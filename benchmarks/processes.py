"""The service's processes, their CPU time, and the load on them."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import peers
import redis
from peers import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
ORDER_EVERY = 10  # one request of so many publishes a Celery message
CONNECTIONS = 4  # of the closed loop
_READY_SECONDS = 60.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Redis:
    """A Redis without persistence, with a database for each contender; a context manager."""

    def __init__(self, directory: Path) -> None:
        self.port, self._directory = free_port(), directory

    def __enter__(self):
        server = shutil.which("redis-server") or shutil.which("valkey-server")
        if server is None:
            raise RefusedError("the service needs redis-server on PATH: apt install redis-server")
        command = [server, "--port", str(self.port), "--save", "", "--databases", "64"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self._directory)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def url(self, database: int) -> str:
        """Return the URL of a database."""
        return f"redis://127.0.0.1:{self.port}/{database}"


class Service:
    """
    One contender's uvicorn and Celery worker; a context manager.

    Args:
        peer: Letter of the contender.
        environ: What `peers.environment` returns.
        redis_url: A database of its own.
        directory: For SQLite and the logs.
    """

    def __init__(self, peer: str, environ: dict, redis_url: str, directory: Path) -> None:
        self.peer, self.requests, self.orders = peer, 0, 0
        self._reserved = _reserve_port()
        self.port = self._reserved.getsockname()[1]
        self._redis = redis.Redis.from_url(redis_url)
        self._environ = environ | {
            "BENCH_REDIS": redis_url,
            "BENCH_DATABASE": str(directory / f"{peer}.sqlite"),
        }
        self._log = directory / f"{peer}.log"
        self._launcher = [str(BIN / "opentelemetry-instrument")] if peer in peers.LAUNCHED else []
        self._children: list[subprocess.Popen] = []

    def __enter__(self):
        subprocess.run(
            [sys.executable, "-c", "import service; service.create_tables()"],
            env=self._environ | {"BENCH_PEER": "a"},
            check=True,
        )
        web = ["uvicorn", "service:app", "--port", str(self.port), "--no-access-log"]
        worker = [
            "celery",
            "-A",
            "service:celery_app",
            "worker",
            "--concurrency=1",
            "--loglevel=WARNING",
        ]
        worker += ["--without-mingle", "--without-gossip"]
        with self._log.open("w") as log:
            for command in ([*web, "--log-level=warning", "--loop=asyncio", "--http=h11"], worker):
                self._children.append(
                    subprocess.Popen(
                        [*self._launcher, str(BIN / command[0]), *command[1:]],
                        env=self._environ,
                        stdout=log,
                        stderr=log,
                        cwd=self._log.parent,
                    )
                )
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            _wait(child)
        self._redis.close()
        self._reserved.close()

    def wait_until_ready(self) -> None:
        """Block until a request is answered and a task is done."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            if any(child.poll() is not None for child in self._children):
                raise RefusedError(f"({self.peer}) did not start:\n{self._log.read_text()[-2000:]}")
            if _listens(self.port):
                break
            if time.monotonic() > deadline:
                raise RefusedError(f"({self.peer}) is not ready")
            time.sleep(0.05)
        self.load(ORDER_EVERY)
        self.wait_until_idle(_READY_SECONDS)

    def load(self, requests: int, *, rate: float = 0) -> list[float]:
        """
        Send requests: as fast as four connections can, or at a fixed rate.

        Args:
            requests: How many.
            rate: So many a second, whether or not earlier ones are answered; 0: closed loop.

        Returns:
            Seconds from when each was due until it was answered, ascending.
        """
        first = self.requests
        self.requests += requests
        numbers = range(first, self.requests)
        self.orders += sum(number % ORDER_EVERY == 0 for number in numbers)
        return sorted(asyncio.run(_Load(self.port).run(numbers, rate)))

    def wait_until_idle(self, timeout: float = 20.0) -> None:
        """
        Block until the worker has done all tasks.

        Raises:
            RefusedError: It did not in time: tasks were lost.
        """
        deadline = time.monotonic() + timeout
        while int(self._redis.get("packed") or 0) < self.orders:
            if time.monotonic() > deadline:
                raise RefusedError(f"({self.peer}) lost tasks")
            time.sleep(0.01)

    @property
    def web_pid(self) -> int:
        """The process that answers requests."""
        return self._children[0].pid

    def cpu_seconds(self) -> float:
        """Return the CPU time that its processes, their children too, have used so far."""
        return sum(map(_cpu_seconds, _tree([child.pid for child in self._children])))


def _wait(child: subprocess.Popen) -> None:
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _reserve_port() -> socket.socket:
    """
    Return what keeps a port for uvicorn, which binds it with SO_REUSEADDR, too.

    Until it does, one of the connections of the services that are up already could get the port.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _cpu_seconds(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)
    except OSError:
        return 0.0


def _tree(roots: list[int]) -> Iterator[int]:
    for pid in roots:
        yield pid
        try:
            for thread in os.scandir(f"/proc/{pid}/task"):
                children = Path(thread.path, "children").read_text()
                yield from _tree([int(child) for child in children.split()])
        except OSError:
            continue


class _Load:
    """A client that costs a few microseconds a request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple] = []
        self._latencies: list[float] = []

    async def run(self, numbers: range, rate: float) -> list[float]:
        if rate:
            started = time.perf_counter()
            waiting = []
            for count, number in enumerate(numbers):
                due = started + count / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                waiting.append(asyncio.create_task(self._request(number, due)))
            await asyncio.gather(*waiting)
        else:
            await asyncio.gather(
                *(self._in_turn(numbers[first::CONNECTIONS]) for first in range(CONNECTIONS))
            )
        for _, writer in self._idle:
            writer.close()
        return self._latencies

    async def _in_turn(self, numbers: range) -> None:
        for number in numbers:
            await self._request(number, time.perf_counter())

    async def _request(self, number: int, due: float) -> None:
        reader, writer = self._idle.pop() if self._idle else await self._connect()
        item = number % 100 + 1
        if number % ORDER_EVERY:
            writer.write(b"GET /items/%d HTTP/1.1\r\nHost: shop.example\r\n\r\n" % item)
        else:
            body = b'{"item_id":%d}' % item
            head = b"POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Length: %d\r\n"
            head += b"Content-Type: application/json\r\n\r\n"
            writer.write(head % len(body) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RefusedError(f"a request failed: {answer[:100]!r}")
        length = answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        await reader.readexactly(int(length))
        self._latencies.append(time.perf_counter() - due)
        self._idle.append((reader, writer))

    async def _connect(self) -> tuple:
        return await asyncio.open_connection("127.0.0.1", self._port)
