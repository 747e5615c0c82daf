from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

from docs.images import draw
from otel_sentry.cli import demo, main
from otel_sentry.cli._demo_redis import find_redis
from otel_sentry.cli.tail.receiver import Receiver
from tests.servers import postgres_server

_TRACE = re.compile(r"^trace ([0-9a-f]{32}) .*$", re.MULTILINE)
_MARK = "OF_WHICH_TEST"
_SECRETS = ("sk_demo_", "correct-horse", "9f86d081884c7d659a2feaa0c55ad015")


class _Demo:
    """`otel-sentry demo` in a process of its own, whose descendants can be told from others."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.mark = uuid.uuid4().hex
        self._output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otel_sentry.cli", "demo", *arguments],
            env={**os.environ, "COLUMNS": "100", _MARK: self.mark, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_until(self, text: str) -> str:
        """Read line by line; pytest-timeout is the deadline."""
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if text in line:
                return "".join(lines)
        raise AssertionError("".join(lines))

    def finish(self) -> str:
        return self.process.communicate(timeout=60)[0]

    def descendants(self) -> list[str]:
        """Name the processes that it started and that are still there."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{_MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
        return found


@pytest.fixture
def start():
    if find_redis() is None:
        pytest.skip("no redis-server on this machine")
    demos = []

    def start(*arguments, **environment):
        demos.append(_Demo(*arguments, **environment))
        return demos[-1]

    yield start
    for it in demos:
        it.process.terminate()
        it.finish()


@pytest.mark.end_to_end
def test_the_demo_shows_one_trace_from_web_to_worker(start):
    """Within 25 seconds there is one tree of web and worker, linked errors, and no secret."""
    began = time.monotonic()
    it = start()
    output = it.finish()
    assert it.process.returncode == 0, output
    assert time.monotonic() - began < 25
    assert len(_TRACE.findall(output)) == 1
    tree = output[_TRACE.search(output).start() :].partition("\n\n")[0]
    assert "http.server POST /orders · shop-web" in tree
    for task in ("shop.charge_card", "shop.pack_order", "shop.send_receipt"):
        assert re.search(rf"▶ queue\.process {re.escape(task)}.* · shop-worker", tree), tree
    assert tree.count("queue.process shop.send_receipt") == 2
    assert "ZeroDivisionError: division by zero  (in http.server GET /report" in output
    assert "KeyError: 'in_stock'  (in queue.process shop.sync_stock" in output
    assert "request.headers.authorization" in output
    assert not any(secret in output for secret in _SECRETS)
    assert it.descendants() == []
    # The pictures in the docs and in README.md show these spans (make pictures).
    shown = draw.spans(draw.waterfall(output))
    assert shown == draw.drawn((draw.HERE / "waterfall.svg").read_text("utf-8"))
    assert shown == draw.spans(["", *draw.README.read_text("utf-8").splitlines()])


@pytest.mark.end_to_end
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Starting Redis", signal.SIGINT),
        ("web  ", signal.SIGINT),
        ("GET /report", signal.SIGINT),
        ("GET /report", signal.SIGTERM),
    ],
)
def test_an_interrupted_demo_leaves_no_process(start, moment, number):
    """Whenever the signal comes, Redis, uvicorn, Celery and its pool are gone after it."""
    it = start()
    it.read_until(moment)
    if moment == "GET /report":
        workers = [name for name in it.descendants() if "celery" in name]
        assert len(workers) == 3, "the worker and its pool of two can be seen while they run"
    it.process.send_signal(number)
    output = it.finish()
    assert it.process.returncode == 128 + number, output
    assert "Stopped." in output
    assert "Traceback" not in output
    assert it.descendants() == []


@pytest.mark.end_to_end
def test_keep_prints_new_traces_until_it_is_stopped(start):
    """With --keep the shop stays open, and a further request is shown as a further trace."""
    it = start("--keep")
    output = it.read_until("Still running")
    url = re.search(r"web +(http://\S+)", output)[1]
    with urllib.request.urlopen(f"{url}/items/2") as response:
        assert response.status == 200
    assert "GET /items/{item_id}" in it.read_until("GET /items/{item_id}")
    it.process.send_signal(signal.SIGINT)
    it.finish()
    assert it.process.returncode == 130
    assert it.descendants() == []


@pytest.mark.end_to_end
def test_a_dsn_of_the_user_gets_everything(start):
    """With --dsn the shop sends there, and its key is not printed."""
    with Receiver() as receiver:
        it = start("--dsn", receiver.dsn.replace("public", "0123456789abcdef"))
        output = it.finish()
        assert it.process.returncode == 0, output
        names = {event["transaction"] for event in receiver.transactions()}
        kinds = {event["exception"]["values"][-1]["type"] for event in receiver.errors()}
    assert {"POST /orders", "shop.charge_card", "shop.send_receipt"} <= names
    assert {"ZeroDivisionError", "KeyError"} <= kinds
    assert f"Sent to {receiver.url}" in output
    assert "0123456789abcdef" not in output


@pytest.mark.end_to_end
def test_settings_of_the_user_are_for_other_programs(start):
    """SENTRY_* and OTEL_* of the surrounding shell change nothing, and are not sent anywhere."""
    with Receiver() as receiver:
        it = start(SENTRY_DSN=receiver.dsn, OTEL_SDK_DISABLED="true", OTEL_TRACES_EXPORTER="none")
        output = it.finish()
        assert it.process.returncode == 0, output
        assert "SENTRY_DSN of this shell is not used" in output
        assert receiver.items == []


@pytest.mark.end_to_end
def test_the_shop_can_use_postgresql(start):
    """With --database-url the order's trace has PostgreSQL's spans."""
    with postgres_server() as url:
        it = start("--database-url", url.replace("+psycopg", ""))
        output = it.finish()
    assert it.process.returncode == 0, output
    assert "database  postgresql+psycopg://127.0.0.1" in output
    assert url.rpartition("@")[0] not in output


@pytest.mark.end_to_end
def test_a_process_that_dies_ends_the_demo(start):
    """A shop that cannot start is named, with its log, and nothing is left running."""
    it = start("--database-url", "postgresql://shop:hush@127.0.0.1:1/shop")
    output = it.finish()
    assert it.process.returncode == 1
    assert "web stopped by itself with exit status 3; the end of the log of web:" in output
    assert "connection failed" in output
    assert it.descendants() == []


def test_a_missing_library_gets_one_line(monkeypatch, capsys):
    """What is missing is named together with the command that installs it."""
    monkeypatch.setattr(demo, "_LIBRARIES", ("fastapi", "no_such_library", "neither.this"))
    assert main(["demo"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "otel-sentry demo: no_such_library, neither.this missing: pip install 'otel-sentry[demo]'\n"
    )


@pytest.mark.parametrize("dsn", ["", "example.com", "https://sentry.example.com/1"])
def test_a_bad_dsn_gets_one_line(capsys, dsn):
    """A value that is no DSN is refused before anything starts."""
    assert main(["demo", "--dsn", dsn]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("otel-sentry demo: --dsn is no DSN")
    assert err.count("\n") == 1


def test_no_redis_gets_one_line(monkeypatch, capsys):
    """Without any Redis server the ways to get one are named."""
    monkeypatch.setattr("otel_sentry.cli._demo_redis.find_redis", lambda: None)
    assert main(["demo"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("otel-sentry demo: no Redis server: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h/d?a=://", "postgresql+psycopg://u:p@h/d?a=://"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("sqlite:///shop.db", "sqlite:///shop.db"),
    ],
)
def test_postgresql_is_spoken_by_psycopg(url, expected):
    """A URL without a driver gets the one that the demo installs."""
    assert demo._with_psycopg(url) == expected


def test_the_parser_calls_run():
    """The subcommand is registered in the way of the command line."""
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers())
    args = parser.parse_args(["demo", "--keep"])
    assert (args.func, args.keep, args.dsn, args.database_url) == (demo.run, True, None, None)
