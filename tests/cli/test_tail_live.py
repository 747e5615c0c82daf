from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from otel_sentry.cli import main
from otel_sentry.cli.tail._filters import Filters
from otel_sentry.cli.tail.receiver import Item
from otel_sentry.cli.tail.trace import build_traces
from tests.cli.test_tail import TRACE, read_until, running, send, transaction

OTHER = "b" * 32


def failed(trace_id=TRACE, **fields):
    error = {"contexts": {"trace": {"trace_id": trace_id, "span_id": "x"}}, **fields}
    return {**error, "exception": {"values": [{"type": "E", "value": "boom"}]}}


def whole(*items):
    [trace] = build_traces(items)
    return trace


ONE_SECOND = whole(Item("transaction", transaction()))
WITH_ERROR = whole(Item("transaction", transaction()), Item("error", failed()))


@pytest.mark.parametrize(
    ("filters", "trace", "shown"),
    [
        (Filters(), ONE_SECOND, True),
        (Filters(errors=True), ONE_SECOND, False),
        (Filters(errors=True), WITH_ERROR, True),
        (Filters(slow=1.0), ONE_SECOND, True),
        (Filters(slow=1.1), ONE_SECOND, False),
        (Filters(trace=TRACE[:4]), ONE_SECOND, True),
        (Filters(trace="b"), ONE_SECOND, False),
        (Filters(errors=True, slow=2.0), WITH_ERROR, False),
    ],
)
def test_filters(filters, trace, shown):
    """A trace is shown if it fits all that was asked for."""
    assert filters.admit(trace) is shown


@pytest.mark.parametrize(
    ("filters", "item", "shown"),
    [
        (Filters(), Item("client_report", {}), True),
        (Filters(errors=True), Item("client_report", {}), False),
        (Filters(errors=True), Item("error", {"message": "m"}), True),
        (Filters(errors=True), Item("transaction", transaction()), False),
        (Filters(slow=0.5), Item("error", {"message": "m"}), False),
        (Filters(slow=0.5), Item("transaction", transaction()), True),
        (Filters(trace="a"), Item("error", failed()), True),
        (Filters(trace="b"), Item("error", failed()), False),
    ],
)
def test_filters_of_single_items(filters, item, shown):
    """What is shown by itself is judged by itself."""
    assert filters.admit_item(item) is shown


@pytest.mark.parametrize(
    "arguments", [("--slow", "fast"), ("--slow=-1s",), ("--slow", "inf"), ("--trace", "xyz")]
)
def test_bad_filters(arguments, capsys):
    """A filter that makes no sense ends the command with an example of one that does."""
    with pytest.raises(SystemExit, match="2"):
        main(["tail", *arguments])
    assert "use" in capsys.readouterr().err


def test_shows_only_what_was_asked_for(envelope):
    """With filters, other traces are left out; an error that came alone says where it happened."""
    with running("--wait", "0.2", "--errors", "--slow", "0ms", "--trace", TRACE[:6]) as (tail, url):
        send(url, envelope(("transaction", transaction("n", trace_id=OTHER))))
        send(url, envelope(("event", failed(OTHER))))
        send(url, envelope(("event", failed(transaction="POST /orders"))))
        shown = read_until(tail.stdout, "boom")
    assert OTHER not in shown
    assert f"trace {TRACE} · 0 spans · 1 error\n✗ E: boom · in POST /orders\n" in shown


class Terminal:
    """What is seen of a program's output: text, line feeds, cursor up and erase below."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = 0
        self.frames = 0

    def feed(self, text: str) -> None:
        for piece in re.findall(r"\x1b\[\d*[A-Za-z]|\r?\n|[^\x1b\r\n]+", text):
            if piece.startswith("\x1b") and piece.endswith("A"):
                self.row -= int(piece[2:-1])
                assert self.row >= 0
            elif piece == "\x1b[J":
                self.frames += 1
                del self.lines[self.row + 1 :]
                self.lines[self.row] = ""
            elif piece.endswith("\n"):
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            else:
                assert not piece.startswith("\x1b"), piece
                self.lines[self.row] += piece

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def test_draws_a_trace_while_it_arrives(envelope):
    """In a terminal of 80 columns without colour, a trace grows in place and stands there once."""
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_sentry.cli", "tail", "--port", "0", "--wait", "60"],
        stdout=secondary,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "COLUMNS": "80",
            "LINES": "24",
            "TERM": "vt100",
            "NO_COLOR": "1",
            "PYTHONIOENCODING": "utf-8",
        },
    )
    terminal = Terminal()

    def wait_for(text):
        deadline = time.monotonic() + 30
        while text not in terminal.text:
            ready, _, _ = select.select([primary], [], [], deadline - time.monotonic())
            assert ready, terminal.text
            terminal.feed(os.read(primary, 65536).decode())
        return terminal.text

    try:
        url = re.search(r"http://[\d.:]+", wait_for("OTEL_EXPORTER_OTLP_ENDPOINT="))[0]
        send(url, envelope(("transaction", transaction("w", parent="p"))))
        wait_for("1 span ")
        send(url, envelope(("event", failed())))
        wait_for("1 span · 1 error")
        send(url, envelope(("transaction", transaction("r", spans=[{"span_id": "p"}]))))
        wait_for("3 spans · 1 error")
        send(url, envelope(("transaction", transaction("n", trace_id=OTHER))))
        wait_for(f"trace {OTHER}")
        send(url, envelope(("client_report", {})))
        wait_for("the service dropped: nothing")
        seen = wait_for(f"trace {OTHER}")
    finally:
        process.kill()
        process.wait()
        os.close(primary)
        os.close(secondary)
    assert terminal.frames >= 3
    assert seen.index("the service dropped") < seen.index(f"trace {TRACE}")
    assert seen.count(f"trace {TRACE}") == 1
    assert max(map(len, seen.splitlines())) <= 80
