from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from otel_sentry.cli import main
from otel_sentry.cli.tail import _pending
from otel_sentry.cli.tail._follow import _as_json, _describe
from otel_sentry.cli.tail._pending import Pending
from otel_sentry.cli.tail.receiver import Item

TRACE = "a" * 32


def transaction(span_id="r", trace_id=TRACE, parent="", spans=()):
    trace = {"trace_id": trace_id, "span_id": span_id, "parent_span_id": parent}
    return {
        "transaction": f"name of {span_id}",
        "contexts": {"trace": trace},
        "start_timestamp": 1.0,
        "timestamp": 2.0,
        "spans": list(spans),
    }


@contextlib.contextmanager
def running(*arguments, **environment):
    """Start `otel-sentry tail` on a free port; yield the process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_sentry.cli", "tail", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80", **environment},
    )
    try:
        hint = process.stderr if "--json" in arguments else process.stdout
        url = next(line.split()[2] for line in hint if line.startswith("Listening on"))
        yield process, url
    finally:
        process.kill()
        process.communicate()


def send(url, body):
    urllib.request.urlopen(f"{url}/api/1/envelope/", body, timeout=10).close()


def read_until(stream, text):
    """Return what is read up to the line that contains `text`; pytest's timeout ends the wait."""
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            break
    return "".join(lines)


def test_prints_traces_as_they_fall_quiet(envelope):
    """Both processes of a trace and its error are one picture; Ctrl-C is the normal end."""
    trace = {"trace_id": TRACE, "span_id": "w"}
    error = {"contexts": {"trace": trace}, "exception": {"values": [{"type": "E", "value": "x"}]}}
    with running("--wait", "0.3") as (process, url):
        read_until(process.stdout, "OTEL_EXPORTER_OTLP_ENDPOINT=")
        send(url, envelope(("event", error)))
        send(url, envelope(("transaction", transaction("w", parent="p"))))
        send(url, envelope(("transaction", transaction("r", spans=[{"span_id": "p"}]))))
        assert f"trace {TRACE} · 3 spans · 1 error" in read_until(process.stdout, "✗ E: x")
        send(url, envelope(("transaction", transaction("late", parent="r"))))
        assert "4 spans · 1 error" in read_until(process.stdout, "updated")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""


def test_prints_at_once_what_is_no_part_of_a_trace(envelope):
    """What the SDK dropped, and why a request was refused, is seen without waiting."""
    report = {"discarded_events": [{"quantity": 3, "category": "transaction", "reason": "backoff"}]}
    with running("--wait", "3600") as (process, url):
        send(url, envelope(("session", {}), ("client_report", report)))
        line = read_until(process.stdout, "dropped")
        assert line.endswith("the service dropped: 3 transaction (backoff)\n")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/wrong", timeout=10)
        assert process.stderr.readline().startswith("refused: 404 not found: ")


def test_json_is_one_object_a_line(envelope):
    """With --json, standard output holds the items and nothing else, each at once."""
    with running("--json") as (process, url):
        send(url, envelope(("event", {"message": "a\nb é\x1b"}), ("attachment", b"\x00\xff")))
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert first["kind"] == "error"
        assert first["payload"] == {"message": "a\nb é\x1b"}
        assert first["envelope_headers"] == {"event_id": "e" * 32}
        assert first["path"] == "/api/1/envelope/"
        assert second["payload_base64"] == "AP8="
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        assert process.stdout.read() == ""


def test_ends_quietly_when_its_reader_is_gone(envelope):
    """`otel-sentry tail --json | head -1` leaves no traceback."""
    with running("--json") as (process, url):
        process.stdout.close()
        with contextlib.suppress(ConnectionError):  # it may end before it has answered
            send(url, envelope(("event", {})))
        assert process.wait(timeout=10) == 1
        assert "Traceback" not in process.stderr.read()


def test_says_how_to_choose_another_port(receiver, capsys):
    """A taken port is one line and exit status 2, not a traceback."""
    assert main(["tail", "--port", str(receiver.port)]) == 2
    assert capsys.readouterr().err == (
        f"otel-sentry tail: cannot listen: port {receiver.port} is taken by another program;"
        " choose another port with --port, --port 0 picks a free one\n"
    )


def test_says_why_it_cannot_listen(monkeypatch, capsys):
    """Any other reason, like a privileged port, is one line too."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("otel_sentry.cli.tail.receiver.Server", refuse)
    assert main(["tail", "--port", "80"]) == 2
    assert "cannot listen: port 80: [Errno 13] Permission denied;" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "x"],
        ["--port", "-1"],
        ["--port", "65536"],
        ["--port", "9" * 5000],
        ["--wait", "x"],
        ["--wait", "-1"],
        ["--wait", "nan"],
        ["--wait", "inf"],
    ],
)
def test_says_which_argument_is_wrong(arguments, capsys):
    """A bad value is named, with what is allowed."""
    with pytest.raises(SystemExit, match="2"):
        main(["tail", *arguments])
    assert "use " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tail", "--help"]])
def test_help_needs_no_optional_library(arguments):
    """Help and version work in a minimal install, and import none of what they do not need."""
    heavy = ("rich", "fastapi", "celery", "redis", "sqlalchemy", "sentry_sdk", "http.server")
    code = (
        f"import sys\nfor name in {heavy}: sys.modules[name] = None\n"
        f"from otel_sentry.cli import main\nmain({arguments})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "otel-sentry" in done.stdout


def test_ctrl_c_has_its_own_exit_status(monkeypatch):
    """Another command that is interrupted ends as shells expect, without a traceback."""

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("otel_sentry.cli.tail.run", interrupt)
    assert main(["tail"]) == 130


@pytest.mark.parametrize(
    ("kind", "payload", "line"),
    [
        ("error", {"message": "m"}, "error outside any trace: m"),
        (
            "error",
            {"exception": {"values": [{"type": "E", "value": "v"}]}},
            "error outside any trace: E: v",
        ),
        ("client_report", {}, "the service dropped: nothing"),
        ("client_report", {"discarded_events": ["x"]}, "the service dropped: nothing"),
        ("log", {"level": "info", "body": "b"}, "log: info: b"),
        ("check_in", {"monitor_slug": "nightly", "status": "ok"}, "check-in: nightly ok"),
        ("attachment", b"x", "received: attachment"),
    ],
)
def test_describes_what_is_no_part_of_a_trace(kind, payload, line):
    """Everything that arrives is at least one line."""
    assert _describe(Item(kind, payload)) == line


def test_json_survives_deep_nesting():
    """A payload that is too deep to print again costs its content, not the command."""
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert json.loads(_as_json(Item("event", deep)))["payload"] == {}


def item(span_id="r", trace_id=TRACE, spans=()):
    return Item("transaction", transaction(span_id, trace_id, spans=spans))


def test_a_trace_is_due_when_it_is_quiet():
    """Each part puts the print off, and a part that comes later causes another one."""
    pending = Pending(wait=1.0)
    assert pending.seconds_left(0.0) is None
    assert pending.add(item("a"), 10.0)
    assert pending.add(item("b"), 10.5)
    assert pending.seconds_left(10.5) == 1.0
    assert pending.take_due(11.4) == []
    ((trace, shown_before),) = pending.take_due(11.5)
    assert (trace.span_count, shown_before) == (2, False)
    assert pending.seconds_left(11.5) is None
    assert pending.take_due(99.0) == []
    pending.add(item("c"), 100.0)
    ((trace, shown_before),) = pending.take_due(101.0)
    assert (trace.span_count, shown_before) == (3, True)


def test_a_trace_that_never_falls_quiet_is_due_in_the_end():
    """A trace that gets a part all the time is shown after ten times the wait."""
    pending = Pending(wait=1.0)
    shown = []
    for tick in range(24):
        now = tick / 2
        pending.add(item(f"{tick}"), now)
        shown += [(now, trace.span_count) for trace, _ in pending.take_due(now)]
    assert shown == [(10.0, 21)]


def test_what_has_no_trace_is_not_taken():
    """The caller shows at once what is no part of a trace."""
    pending = Pending(wait=1.0)
    assert not pending.add(Item("error", {"message": "x"}), 0.0)
    assert not pending.add(Item("session", {}), 0.0)
    assert not pending.add(Item("attachment", b""), 0.0)


def test_holds_a_bounded_number_of_traces():
    """After days, the last traces are held; what nobody saw is shown before it is forgotten."""
    pending = Pending(wait=100.0)
    for number in range(_pending._MAX_TRACES + 2):
        pending.add(item(trace_id=f"{number:032x}"), float(number))
    assert pending.seconds_left(300.0) == 0.0
    assert [trace.trace_id for trace, _ in pending.take_due(0.0)] == [f"{0:032x}", f"{1:032x}"]
    assert len(pending._traces) == _pending._MAX_TRACES


def test_holds_a_bounded_number_of_spans(monkeypatch):
    """Traces of thousands of spans push the older ones out; one alone keeps its last spans."""
    monkeypatch.setattr(_pending, "_MAX_SPANS", 10)
    pending = Pending(wait=1.0)
    pending.add(item(trace_id="b" * 32), 0.0)
    for number in range(20):
        pending.add(item(f"{number}"), 0.0)
    assert [len(parts.nodes) for parts in pending._traces.values()] == [10]
    assert [trace.trace_id for trace, _ in pending.take_due(0.0)] == ["b" * 32]
