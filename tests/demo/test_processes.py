from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from otel_sentry.cli import _demo_processes
from otel_sentry.cli._demo_processes import (
    Interrupted,
    Processes,
    ProcessFailedError,
    hold_interruptions,
    raise_interruptions,
)

# Starts a grandchild that ignores SIGTERM, as a Celery pool process may, and says its pid.
_PARENT = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_group_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    """Neither a stubborn process nor its children outlive the block."""
    monkeypatch.setattr(_demo_processes, "_STOP_SECONDS", 0.2)
    with Processes(tmp_path) as processes:
        child = processes.start("stubborn", [sys.executable, "-c", _PARENT], os.environ)
        processes.wait_for(child, lambda: child.read_log().endswith("\n"), timeout=20)
        grandchild = int(child.read_log())
        assert _is_alive(grandchild)
    assert child.process.returncode == -signal.SIGKILL
    _wait_until(lambda: not _is_alive(grandchild))


def test_a_process_that_dies_is_reported_with_its_log(tmp_path):
    """Waiting for a dead process fails at once, and shows why it died."""
    command = [sys.executable, "-c", "raise SystemExit('no such database')"]
    with Processes(tmp_path) as processes:
        child = processes.start("web", command, os.environ)
        with pytest.raises(ProcessFailedError) as caught:
            processes.wait_for(child, lambda: False, timeout=20)
    assert str(caught.value).splitlines() == [
        "web stopped by itself with exit status 1; the end of the log of web:",
        "    no such database",
    ]


def test_a_process_that_is_never_ready_is_reported(tmp_path):
    """Waiting for a process has a bound."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with Processes(tmp_path) as processes:
        child = processes.start("web", command, os.environ)
        with pytest.raises(ProcessFailedError, match=r"^web was not ready after 0\.1 s"):
            processes.wait_for(child, lambda: False, timeout=0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_block(number):
    """SIGINT, SIGTERM and SIGHUP all end as an exception that knows its number."""
    with pytest.raises(Interrupted) as caught, raise_interruptions():
        signal.raise_signal(number)
    assert caught.value.number == number


def test_a_signal_waits_for_the_end_of_what_must_not_be_interrupted():
    """A held signal is delivered after the block, once."""
    steps = []

    def step():
        with raise_interruptions(), hold_interruptions():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            steps.append("completed")

    with pytest.raises(Interrupted):
        step()
    assert steps == ["completed"]


def test_the_former_handlers_come_back():
    """Outside of the block, signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM)
    with raise_interruptions():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
