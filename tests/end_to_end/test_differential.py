"""One application under sentry-sdk's native tracing and under ours, side by side."""

from __future__ import annotations

import pytest

from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import run_service

NATIVE = """
import os, sentry_sdk
sentry_sdk.init(os.environ["SENTRY_DSN"], traces_sample_rate=1.0)
import uvicorn
uvicorn.run("service:app", port={port})
"""

REQUESTS = {
    "/items/3": "GET /items/{item_id}",
    "/sub/deep/7": "GET /sub/deep/{x}",
    "/nowhere": "GET /nowhere",
    "/stream": "GET /stream",
    "/log": "GET /log",
    "/sub/boom": "GET /sub/boom",
    "/thread": "GET /thread",
    "/background": "GET /background",
}

# Every difference is meant; each line says why it is better, or what it costs.
INTENDED = {
    # The method is part of the name, and so is the place where an application is mounted.
    "names": {
        "/items/3": "/items/{item_id}",
        "/sub/deep/7": "/deep/{x}",
        "/stream": "/stream",
        "/log": "/log",
        "/sub/boom": "/boom",
        "/thread": "/thread",
        "/background": "/background",
    },
    # SQL literals are data.
    "descriptions": {"SELECT 1": "SELECT ?"},
    # OpenTelemetry instruments the mounted application as well: one span of its own.
    "more spans": {
        "/sub/deep/7": [("http", "GET /deep/{x}")],
        "/sub/boom": [("http", "GET /boom")],
    },
    # OpenTelemetry's context reaches a raw thread only with its threading instrumentation; a
    # background task that outlives its request is a transaction of its own.
    "fewer spans": {"/thread": [("db", "SELECT ?")], "/background": [("db", "SELECT ?")]},
}


def visit(directory, *command, launcher):
    """Return the transaction of each request, and all errors."""
    events = {}
    with Receiver() as receiver:
        with run_service(directory, receiver, *command, launcher=launcher) as service:
            for path in REQUESTS:
                service.get(path)
                found = receiver.wait_for(
                    lambda seen, path=path: [
                        event
                        for event in seen.transactions()
                        if event.get("request", {}).get("url", "").endswith(path)
                    ],
                    15,
                    path,
                )
                events[path] = found[0]
        return events, receiver.errors()


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """Return what native tracing sends."""
    directory = tmp_path_factory.mktemp("native")
    return visit(directory, "python", "-c", NATIVE, launcher=False)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Return what we send."""
    return visit(tmp_path_factory.mktemp("ours"), launcher=True)


@pytest.mark.parametrize("path", REQUESTS)
def test_same_transaction(native, ours, path):
    """Name, source, op, status and spans are those of native tracing, but for what is intended."""
    theirs, mine = native[0][path], ours[0][path]

    assert mine["transaction"] == REQUESTS[path]
    if path in INTENDED["names"]:
        assert theirs["transaction"] == INTENDED["names"][path]
    assert mine["transaction_info"] == theirs["transaction_info"]
    for key in ("op", "status"):
        assert mine["contexts"]["trace"][key] == theirs["contexts"]["trace"][key]
    expected = [
        (span["op"], INTENDED["descriptions"].get(span["description"], span["description"]))
        for span in theirs["spans"]
    ]
    expected = [span for span in expected if span not in INTENDED["fewer spans"].get(path, [])]
    expected += INTENDED["more spans"].get(path, [])
    assert sorted((s["op"], s["description"]) for s in mine["spans"]) == sorted(expected)


@pytest.mark.parametrize("path", REQUESTS)
def test_same_request_and_contexts(native, ours, path):
    """The request, the runtime and the SDK are described as native tracing describes them."""
    theirs, mine = native[0][path], ours[0][path]

    # Native tracing repeats the status code as a tag, and has an empty map of measurements.
    assert set(theirs) - {"_meta", "tags", "measurements"} <= set(mine)
    assert set(theirs["tags"]) <= {"http.status_code", "asgi.type"}
    assert not theirs["measurements"]
    code = mine["contexts"]["trace"]["data"]["http.response.status_code"]
    assert theirs["tags"].get("http.status_code", str(code)) == str(code)
    assert set(theirs["contexts"]) <= set(mine["contexts"])
    assert mine["request"]["method"] == theirs["request"]["method"]
    assert mine["sdk"]["name"] == theirs["sdk"]["name"]
    # Breadcrumbs are all that these two would be for; ours cost less.
    replaced = {"redis", "sqlalchemy"}
    assert set(mine["sdk"]["integrations"]) | replaced == set(theirs["sdk"]["integrations"])


def test_same_errors(native, ours):
    """The same errors arrive as often; each of ours bears the name of its transaction."""

    def kinds(errors):
        return sorted(
            (e.get("exception") or {"values": [{"type": "log"}]})["values"][-1]["type"]
            for e in errors
        )

    assert kinds(ours[1]) == kinds(native[1]) == ["ValueError", "log"]
    assert {e["transaction"] for e in ours[1]} == {"GET /sub/boom", "GET /log"}
