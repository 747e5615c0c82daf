"""Supervise the demo's processes: start them, watch them, leave none behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType, TracebackType

    from typing_extensions import Self

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_SECONDS = 0.05
_STOP_SECONDS = 8.0
_LOG_LINES = 25


class ProcessFailedError(Exception):
    """A process died, or did not get ready in time; the message ends with its log."""


class Interrupted(BaseException):
    """The user or the system asked the demo to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(frozen=True)
class Child:
    """One supervised process and the file that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def read_log(self) -> str:
        """Return all that the process has written so far."""
        return self.log.read_text(errors="replace")

    def failure(self, why: str) -> ProcessFailedError:
        """Describe what went wrong, with the last lines of the log."""
        return ProcessFailedError(f"{self.name} {why}; {self.describe_log()}")

    def describe_log(self) -> str:
        """Return the last lines of the log."""
        lines = self.read_log().splitlines()[-_LOG_LINES:]
        log = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        return f"the end of the log of {self.name}:\n{log}"


class Processes:
    """The processes of one block; the end of the block stops them, whatever ended it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Bounded by the caller: one entry for each start().
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a process in a group of its own, so that a Ctrl-C reaches only us."""
        log = self._directory / f"{name}.log"
        with hold_interruptions(), log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                command,
                cwd=self._directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            child = Child(name, process, log)
            self._children.append(child)
        return child

    def check(self) -> None:
        """Raise ProcessFailedError if one of the processes is gone."""
        for child in self._children:
            status = child.process.poll()
            if status is not None:
                why = f"stopped by itself with exit status {status}"
                raise child.failure(why)

    def wait_for(self, child: Child, ready: Callable[[], bool], *, timeout: float) -> None:
        """Wait until the process is ready; raise ProcessFailedError if it never is."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                why = f"was not ready after {timeout:g} s"
                raise child.failure(why)
            time.sleep(_POLL_SECONDS)

    def describe_logs(self) -> str:
        """Return the last lines of every log."""
        return "\n".join(child.describe_log() for child in self._children)

    def stop(self) -> None:
        """Ask all processes to end, and kill what has not ended after a bounded time."""
        with hold_interruptions():
            for child in self._children:
                if child.process.poll() is None:
                    child.process.terminate()
            deadline = time.monotonic() + _STOP_SECONDS
            for child in self._children:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.0, deadline - time.monotonic()))
                # The whole group: the pool processes of a dead Celery worker are in it.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
            self._children.clear()


@contextlib.contextmanager
def raise_interruptions() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into Interrupted, so that every `with` block is left."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handlers(interrupt):
        yield


@contextlib.contextmanager
def hold_interruptions() -> Iterator[None]:
    """Put signals off to the end of the block, where nothing can be half started or stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    with _handlers(lambda number, _frame: held.append(number)):
        yield
    if held:
        signal.raise_signal(held[0])


@contextlib.contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former or signal.SIG_DFL)


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Tell whether someone listens on the loopback port."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
