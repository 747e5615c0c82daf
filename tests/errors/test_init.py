from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.stack import environment

WORK = """
import logging, sys, threading
logging.basicConfig(format="%(name)s: %(message)s")

def work(*errors):
    import otel_sentry, sentry_sdk
    from opentelemetry import trace
    with trace.get_tracer("tests").start_as_current_span("work", kind=trace.SpanKind.SERVER):
        for error in errors:
            otel_sentry.capture_exception(error)
    otel_sentry.flush(10)
"""
LAUNCHED = """
from opentelemetry.instrumentation.auto_instrumentation import initialize
initialize()
"""


def run(receiver, code, *, launcher=False, **settings):
    """Run code in a new process, as under the launcher or without it; return its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", WORK + (LAUNCHED if launcher else "") + code],
        env=environment(receiver, **settings),
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def receiver():
    """Return a far end."""
    with Receiver() as receiver:
        yield receiver


def types(receiver):
    """Return the types of the exceptions that arrived."""
    return [event["exception"]["values"][-1]["type"] for event in receiver.errors()]


def names(receiver):
    """Return the names of the transactions that arrived."""
    return [event["transaction"] for event in receiver.transactions()]


@pytest.mark.parametrize("launcher", [False, True])
def test_callbacks_and_sentry_options(receiver, launcher):
    """Ours and sentry-sdk's options count, with the launcher and without; nothing is doubled."""
    stderr = run(
        receiver,
        """
import otel_sentry
for _ in range(2):
    otel_sentry.init(
        environment="testing",
        is_noisy_error=lambda error: "noise" in str(error),
        ignore_errors=KeyError,
        failed_request_status_codes={404},
        before_send=lambda event, hint: {**event, "tags": {"hook": "ran"}},
    )
work(ValueError("noise"), KeyError("ignored"), ValueError("sent"))
""",
        launcher=launcher,
    )
    assert stderr == ""
    (event,) = receiver.errors()
    assert event["exception"]["values"][-1]["value"] == "sent"
    assert event["tags"] == {"hook": "ran"}
    assert event["environment"] == "testing"
    (transaction,) = receiver.transactions()
    assert transaction["environment"] == "testing"
    assert transaction["contexts"]["trace"]["trace_id"] == event["contexts"]["trace"]["trace_id"]


def test_a_start_in_code(receiver):
    """Without the launcher and without variables init() starts everything, libraries included."""
    stderr = run(
        None,
        f"""
import otel_sentry
otel_sentry.init({receiver.dsn!r}, traces_sample_rate=1.0, release="shop@1")
otel_sentry.init(before_send=lambda event, hint: {{**event, "tags": {{"hook": "second"}}}})
otel_sentry.init(max_breadcrumbs=3)
import fastapi
from fastapi.testclient import TestClient
app = fastapi.FastAPI()

@app.get("/orders/{{number}}")
def order(number: int):
    raise fastapi.HTTPException(401)

TestClient(app).get("/orders/7")
otel_sentry.flush(10)
""",
        SENTRY_TRACES_SAMPLE_RATE="",
    )
    assert "only instruments" not in stderr
    assert names(receiver) == ["GET /orders/{number}"]
    (event,) = receiver.errors()
    assert event["transaction"] == "GET /orders/{number}"
    assert (event["release"], event["tags"]) == ("shop@1", {"hook": "second"})
    assert "is ignored" not in stderr
    kinds = {item.kind for item in receiver.items}
    assert "sessions" in kinds


@pytest.mark.parametrize("dsn", ["", "http://public@127.0.0.1:9/1"])
def test_the_applications_client_is_kept(receiver, dsn):
    """A client made before us keeps its options and hooks, and where it sends to."""
    stderr = run(
        None,
        f"""
import sentry_sdk, otel_sentry
sentry_sdk.init(
    {receiver.dsn!r}, release="own@1", traces_sample_rate=1.0, auto_enabling_integrations=False,
    before_send=lambda event, hint: {{**event, "tags": {{"hook": "own"}}}},
)
client = sentry_sdk.get_client()
otel_sentry.init(is_noisy_error=lambda e: "noise" in str(e), max_breadcrumbs=3)
assert sentry_sdk.get_client() is client
with sentry_sdk.start_transaction(name="native"):
    pass
work(ValueError("noise"), ValueError("sent"))
""",
        SENTRY_DSN=dsn,
    )
    (event,) = receiver.errors()
    assert (event["release"], event["tags"]) == ("own@1", {"hook": "own"})
    assert names(receiver) == ["work"]
    assert stderr.count("switched off, since OpenTelemetry traces") == 1
    assert stderr.count("ignores max_breadcrumbs") == 1


def test_a_client_that_comes_after(receiver):
    """A client that the application makes after init() is adopted with the same filters."""
    run(
        receiver,
        """
import sentry_sdk, otel_sentry
otel_sentry.init(ignore_errors=["KeyError"], before_send=lambda event, hint: None)
sentry_sdk.init(release="own@1", auto_enabling_integrations=False)
work(KeyError(), ValueError())
""",
        launcher=True,
    )
    assert types(receiver) == ["ValueError"]
    assert names(receiver) == ["work"]


def test_bad_options(receiver):
    """What is wrong is warned of, once each, and left out; the rest works."""
    stderr = run(
        receiver,
        """
import otel_sentry
otel_sentry.init(
    traces_sample_rate="many", is_noisy_error="yes", ignore_errors=3, ignore_loggers=3,
    failed_request_status_codes=500, before_sent=print, before_send=5, nonsense=1,
    max_request_body_size="huge",
)
work(ValueError())
""",
    )
    assert types(receiver) == ["ValueError"]
    for words in (
        "init(traces_sample_rate='many') is ignored: it cannot be read.",
        "init(before_send=5) is ignored: pass a function.",
        "init(is_noisy_error='yes') is ignored: pass a function.",
        "init(ignore_errors=3) is ignored: pass a list.",
        "init(ignore_loggers=3) is ignored: pass a list.",
        "init(failed_request_status_codes=500) is ignored: pass a set of status codes.",
        "init(before_sent=...) is ignored",
        "Did you mean before_send?",
        "init(nonsense=...) is ignored",
        "refuses the options max_request_body_size",
    ):
        assert stderr.count(words) == 1, stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("launcher", [True, False])
def test_monitoring_beat(receiver, launcher):
    """The client's integration of Celery checks beat's entries in, but for those left out."""
    stderr = run(
        receiver,
        """
import otel_sentry, sentry_sdk, sys
otel_sentry.init(monitor_beat_tasks=True, exclude_beat_tasks="hourly-.*")
celery = sentry_sdk.get_client().get_integration("celery")
sys.stderr.write(f"{celery.monitor_beat_tasks} {celery.exclude_beat_tasks}")
""",
        launcher=launcher,
    )
    assert stderr == "True ['hourly-.*']"


def test_bad_entries_of_beat(receiver):
    """What is no list of names is warned of, and leaves no entry out."""
    stderr = run(
        receiver,
        "import otel_sentry\n"
        "otel_sentry.init(monitor_beat_tasks=True, exclude_beat_tasks=3)\n"
        "work(ValueError())",
    )
    assert stderr.count("init(exclude_beat_tasks=3) is ignored: pass a list.") == 1
    assert types(receiver) == ["ValueError"]


def test_monitoring_beat_without_celery(receiver):
    """Where Celery is missing a warning says so, and the rest works."""
    stderr = run(
        receiver,
        "import sys\nsys.modules['celery'] = None\n"
        "import otel_sentry\notel_sentry.init(monitor_beat_tasks=True)\nwork(ValueError())",
    )
    assert stderr.count("monitor_beat_tasks=True) is ignored") == 1
    assert types(receiver) == ["ValueError"]


def test_a_rate_that_comes_too_late(receiver):
    """Under the launcher the rate stands already; init() says so."""
    stderr = run(
        receiver,
        "import otel_sentry\notel_sentry.init(traces_sample_rate=0.5)\nwork()",
        launcher=True,
    )
    assert stderr.count("traces_sample_rate=0.5) is ignored") == 1
    assert names(receiver) == ["work"]


def test_nothing_to_send_to():
    """Without a DSN init() sets nothing up, and imports no SDK."""
    stderr = run(
        None,
        """
import otel_sentry
otel_sentry.init(is_noisy_error=bool, traces_sample_rate=1.0)
otel_sentry.capture_message("nowhere")
heavy = [name for name in ("sentry_sdk", "fastapi") if name in sys.modules]
print(heavy, threading.active_count(), file=sys.stderr)
""",
    )
    assert stderr == "[] 1\n"


def test_errors_alone(receiver):
    """With no traces backend errors arrive, once per object in a scope."""
    run(
        receiver,
        """
import otel_sentry, sentry_sdk
otel_sentry.init()
kept = ValueError("kept")
for _ in range(2):
    with sentry_sdk.isolation_scope() as scope:
        scope.set_new_propagation_context()
        from contextvars import copy_context
        copy_context().run(otel_sentry.capture_exception, kept)
        copy_context().run(otel_sentry.capture_exception, kept)
otel_sentry.flush(10)
""",
        OTEL_TRACES_EXPORTER="none",
    )
    assert types(receiver) == ["ValueError"] * 2


@pytest.mark.parametrize("launcher", [False, True])
def test_personal_data_where_warnings_are_errors(receiver, launcher):
    """Personal data may be sent although sentry-sdk's option of that name is deprecated."""
    stderr = run(
        receiver,
        """
import otel_sentry
otel_sentry.init(send_default_pii=True)
work(ValueError("sent"))
""",
        launcher=launcher,
        SENTRY_SEND_DEFAULT_PII="true",
        PYTHONWARNINGS="error",
    )
    assert types(receiver) == ["ValueError"]
    assert names(receiver) == ["work"]
    assert "otel_sentry" not in stderr


def test_an_argument_that_cannot_be_read(receiver):
    """The variable counts then, not the default; the warning names the argument."""
    stderr = run(
        receiver,
        "import otel_sentry\notel_sentry.init(traces_sample_rate=25)\nwork(ValueError())",
        SENTRY_TRACES_SAMPLE_RATE="1",
    )
    assert names(receiver) == ["work"]
    (line,) = stderr.splitlines()
    assert "init(traces_sample_rate=25) is ignored: it is not between 0 and 1" in line


def test_a_change_back(receiver):
    """What init() says last counts, also where it is what the variables say."""
    run(
        receiver,
        """
import otel_sentry
for environment in ("staging", "production"):
    otel_sentry.init(environment=environment)
work(ValueError())
""",
        launcher=True,
    )
    (event,) = receiver.errors()
    assert event["environment"] == "production"


def test_no_integrations_of_ones_own(receiver):
    """`integrations=None` is none, beside beat's as well."""
    stderr = run(
        receiver,
        """
import otel_sentry
otel_sentry.init(integrations=None, monitor_beat_tasks=True)
work(ValueError())
""",
    )
    assert types(receiver) == ["ValueError"]
    assert "failed while" not in stderr


def test_a_provider_of_the_applications_own(receiver):
    """Where a tracer provider is set already, it is said that no traces are sent."""
    stderr = run(
        receiver,
        """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
import otel_sentry
otel_sentry.init()
work(ValueError())
""",
    )
    assert types(receiver) == ["ValueError"]
    assert stderr.count("otel_sentry sends no traces: the application has set a tracer") == 1


def test_what_an_earlier_client_has_lost(receiver):
    """The client that takes its place reports it, and what still waits, also where that hangs."""
    code = """
import os, otel_sentry, sentry_sdk
otel_sentry.init(os.environ["SENTRY_DSN"])
old = sentry_sdk.get_client().transport
old.record_lost_event("sample_rate", "transaction", quantity=7)
old.flush = lambda *_, **__: False  # as where Sentry takes nothing
otel_sentry.init(max_breadcrumbs=50)
assert sentry_sdk.get_client().transport is not old
otel_sentry.flush(10)
"""
    run(receiver, code)

    (report,) = [item.fields for item in receiver.items if item.kind == "client_report"]
    lost = {(one["category"], one["reason"]): one["quantity"] for one in report["discarded_events"]}
    assert lost["transaction", "sample_rate"] == 7
