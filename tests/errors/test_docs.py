from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import environment

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page):
    """Return the Python code of a page of the documentation."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def run(receiver, code):
    """Run code in a new process without the launcher; return its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(receiver),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_page_about_errors():
    """The code of the page runs as it stands there, and does what the page says."""
    api, filters, start, endpoint = blocks("errors.md")
    call = (
        "from fastapi.testclient import TestClient\n"
        "print(TestClient(app).get('/api/health/sentry-test').status_code)\n"
        "otel_sentry.flush(10)\n"
    )
    with Receiver() as receiver:
        stderr = run(receiver, f"{start}\n{api}\n{filters}\n{endpoint}\n{call}")
        errors = sorted(receiver.errors(), key=lambda event: event["timestamp"])

    assert "Traceback" not in stderr
    assert "is ignored" not in stderr
    sent = [e.get("message") or e["exception"]["values"][-1]["type"] for e in errors]
    assert sent == [
        "ZeroDivisionError",
        "TimeoutError",
        "the cache is cold",
        "with all of it",
        "SentryTestError",
    ]
    assert {event["environment"] for event in errors} == {"staging"}
    assert errors[0]["tags"] == {"shop": "eu"}
    described = errors[3]
    assert described["user"]["role"] == "admin"
    assert described["tags"] == {"tenant": "acme"}
    assert described["contexts"]["cart"] == {"items": 3}
    assert described["breadcrumbs"]["values"][-1]["message"] == "payment accepted"


@pytest.mark.parametrize("code", blocks("migrating.md"))
def test_the_page_about_migrating(code):
    """What people have, and what they are told to write, is code that runs."""
    with Receiver() as receiver:
        code = code.replace("https://key@o1.ingest.sentry.io/1", receiver.dsn)
        assert "Traceback" not in run(receiver, code)


def test_the_page_about_celery():
    """The code of the page lets beat check in, and warns of nothing."""
    (code,) = blocks("celery.md")
    with Receiver() as receiver:
        stderr = run(
            receiver,
            f"import otel_sentry, sentry_sdk\n{code}\n"
            "assert sentry_sdk.get_client().get_integration('celery').monitor_beat_tasks",
        )
    assert stderr == ""
