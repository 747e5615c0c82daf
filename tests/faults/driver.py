"""Run the application of this folder, or any script, as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
_ANSWER_SECONDS = 240  # nobody promises a time for it

CONFIGURED = """
import os
from otel_sentry import pipeline
from otel_sentry.options import Options
from otel_sentry.settings import Settings
# sentry-sdk's integrations import every framework that is installed: seconds for each process.
pipeline.configure(
    Settings.from_env(os.environ), Options(sentry={"auto_enabling_integrations": False})
)
"""

LAUNCHED = "from opentelemetry.instrumentation.auto_instrumentation import initialize; initialize()"
"""What ``opentelemetry-instrument`` does before a script runs."""


def environment(dsn: str, **settings: str) -> dict[str, str]:
    """Return the environment of a process that sends to ``dsn``."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "SENTRY_", "PYTEST_"))
    }
    path = os.pathsep.join((str(ROOT), str(HERE)))
    ours = {"SENTRY_DSN": dsn, "SENTRY_TRACES_SAMPLE_RATE": "1", "PYTHONPATH": path}
    return {**clean, **ours, **settings}


def printed(script: str, **settings: str) -> str:
    """Return what a script prints that the launcher has started, and that sends nowhere."""
    done = subprocess.run(
        [sys.executable, "-c", f"{LAUNCHED}\n{script}"],
        env=environment("http://key@127.0.0.1:9/1", **settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


class Application:
    """A running application; ask it to do something."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self) -> dict[str, Any]:
        line = self._answers.get(timeout=_ANSWER_SECONDS)
        assert line, f"the application ended:\n{self.log()}"
        return json.loads(line)

    def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Let it do one of its commands; what it answers."""
        self.process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def log(self) -> str:
        """Return all that it logged."""
        return self._log.read_text()

    def log_lines(self) -> list[str]:
        """Return what was logged through ``logging``."""
        return [line for line in self.log().splitlines() if line.startswith("LOG ")]


@contextlib.contextmanager
def run_application(directory: Path, dsn: str, **settings: str) -> Iterator[Application]:
    """Run the application, set up as the launcher does it."""
    log = directory / "application.log"
    code = f"{CONFIGURED}\nimport application; application.main()"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(dsn, **settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    with process:
        try:
            yield Application(process, log)
        finally:
            process.kill()


def run_script(
    code: str, dsn: str, *, first: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, set up as the launcher does it; ``first`` comes before that."""
    with start_script(code, dsn, first=first, **settings) as process:
        try:
            stdout, stderr = process.communicate(timeout=_ANSWER_SECONDS)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def start_script(code: str, dsn: str, *, first: str = "", **settings: str) -> subprocess.Popen[str]:
    """Start what :func:`run_script` runs; the caller waits for its end."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{first}\n{CONFIGURED}\n{textwrap.dedent(code)}"],
        env=environment(dsn, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
