from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(line, directory):
    """Run a line of a shell, in which $CLI is the command; return status and complaints."""
    done = subprocess.run(
        ["/bin/sh", "-c", line.replace("$CLI", f"{sys.executable} -m otel_sentry.cli")],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("command", ["doctor", "doctor --json", "collector-config"])
@pytest.mark.parametrize(
    ("where", "reason"), [(">&-", "standard output is closed"), (">/dev/full", "No space left")]
)
def test_an_output_that_takes_nothing(tmp_path, command, where, reason):
    """What cannot be printed is one line on standard error, and an error's exit status."""
    if where == ">/dev/full" and not os.path.exists("/dev/full"):  # noqa: PTH110 - a device
        pytest.skip("this system has no /dev/full")
    status, complaints = run(f"$CLI {command} {where}", tmp_path)
    assert status == 2
    (line,) = complaints
    assert line.startswith("otel-sentry: ")
    assert reason in line


def test_a_directory_that_is_gone(tmp_path):
    """In a deleted directory the doctor says so in one line."""
    status, complaints = run("mkdir gone && cd gone && rmdir ../gone && $CLI doctor", tmp_path)
    assert status == 2
    (line,) = [one for one in complaints if not one.startswith("shell-init")]
    assert line.startswith("otel-sentry: ")


def test_a_reader_that_leaves(tmp_path):
    """Where the reader of a pipe is gone, nothing is said."""
    assert run("$CLI collector-config | true", tmp_path) == (0, [])
