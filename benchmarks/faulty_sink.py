"""The far end of tests/faults, which misbehaves on command, in a process of its own, with TLS."""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from pathlib import Path

import certifi

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.far_end import TAKE, FarEnd, Mode, make_certificate

UNTRUSTED = Mode("untrusted")
"""Another certificate, which nobody trusts."""

_LOOK = Mode("look")


class FaultySink:
    """
    The process, seen from the harness; a context manager.

    Args:
        directory: For its certificates.
    """

    def __init__(self, directory: Path) -> None:
        trusted, unknown = (directory / name for name in ("trusted.pem", "unknown.pem"))
        make_certificate(trusted)
        make_certificate(unknown)
        # As long as the list that everybody has, so that it is seen who reads it too often.
        self.bundle = directory / "bundle.pem"
        self.bundle.write_text(Path(certifi.where()).read_text() + trusted.read_text())
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, trusted, unknown), daemon=True
        )

    def __enter__(self):
        self._process.start()
        self.dsn = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join(10)

    def become(self, mode: Mode) -> None:
        """Change the mode."""
        self._ask(mode)

    def arrived(self) -> dict[str, Counter]:
        """Return the number of items by kind: sent, counted as lost, answered by 429."""
        return self._ask(_LOOK)

    def _ask(self, mode: Mode) -> dict[str, Counter]:
        self._pipe.send(mode)
        return self._pipe.recv()


def _serve(pipe, trusted: Path, unknown: Path) -> None:
    with FarEnd(trusted, keep=1) as far_end:
        pipe.send(far_end.dsn)
        while (mode := pipe.recv()) is not None:
            if mode == UNTRUSTED:
                far_end.become(Mode("refuse"))  # ends the connections that there are
            if mode != _LOOK:
                far_end.present(unknown if mode == UNTRUSTED else trusted)
                far_end.become(TAKE if mode == UNTRUSTED else mode)
            pipe.send(_arrived(far_end))


def _arrived(far_end: FarEnd) -> dict[str, Counter]:
    counted: Counter = Counter()
    for (kind, reason), number in far_end.counted().items():
        if reason != "event_processor":  # sentry-sdk sees most exceptions twice, and drops one
            counted[kind] += number
    return {
        "sent": far_end.kinds(),
        "counted": counted,
        "answered by 429": far_end.answered.copy(),
    }
