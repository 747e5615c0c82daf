"""An application that calls sentry_sdk.init() itself, after us."""

from __future__ import annotations

import subprocess
import sys

import pytest

from otel_sentry.cli.tail.receiver import Receiver

PROGRAM = """
import sys, sentry_sdk
from otel_sentry import pipeline
from otel_sentry.settings import Settings
from opentelemetry import trace

dsn = sys.argv[1]
pipeline.configure(Settings.from_env({{"SENTRY_DSN": dsn, "SENTRY_TRACES_SAMPLE_RATE": "1"}}))
seen = []

def before_send(event, hint):
    seen.append(event)
    event["tags"] = {{"hook": "ran"}}
    event["extra"] = {{"password": "Zq9xSekrit7Wv"}}
    return event

def before_send_transaction(event, hint):
    {body}

sentry_sdk.init(
    dsn,
    traces_sample_rate=1.0,
    before_send=before_send,
    before_send_transaction=before_send_transaction,
)
tracer = trace.get_tracer("t")
for _ in range(2):
    with tracer.start_as_current_span("root", kind=trace.SpanKind.SERVER):
        sentry_sdk.add_breadcrumb(message="here", category="shop", data={{"token": "secret1"}})
        with tracer.start_as_current_span("child") as child:
            child.set_attribute("n", 1)
        sentry_sdk.capture_message("hello")
trace.get_tracer_provider().force_flush()
sentry_sdk.flush()
"""


def run(body):
    """Run the program with a body of its before_send_transaction; return what arrived."""
    with Receiver() as receiver:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(body=body), receiver.dsn],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        lost = {}
        for item in receiver.items:
            if item.kind == "client_report":
                for entry in item.fields["discarded_events"]:
                    key = (entry["category"], entry["reason"])
                    lost[key] = lost.get(key, 0) + entry["quantity"]
        return receiver.transactions(), receiver.errors(), lost, done.stderr


def test_the_applications_hooks_run_before_scrubbing():
    """The application's client keeps its hooks; we link before them and scrub behind them."""
    body = "event['spans'][0]['data']['mine'] = 'password=Zq9xSekrit7Wv'; return event"
    transactions, errors, lost, stderr = run(body)

    assert [event["transaction"] for event in transactions] == ["root", "root"]
    for event in transactions:
        assert event["spans"][0]["data"]["mine"] == "password=[Filtered]"
        assert [c["message"] for c in event["breadcrumbs"]["values"]] == ["here"]
        assert event["breadcrumbs"]["values"][0]["data"] == {"token": "[Filtered]"}
    for error in errors:
        assert error["tags"] == {"hook": "ran"}
        assert error["extra"] == {"password": "[Filtered]"}
        assert error["transaction"] == "root"
    # Over several connections they may overtake each other.
    of_errors, of_transactions = (
        sorted(event["contexts"]["trace"]["trace_id"] for event in events)
        for events in (errors, transactions)
    )
    assert of_errors == of_transactions
    assert lost == {}
    assert stderr.count("switched off, since OpenTelemetry traces") == 1


@pytest.mark.parametrize(
    ("body", "reason"), [("return None", "before_send"), ("raise ValueError", "callback_error")]
)
def test_a_hook_that_drops_or_raises(body, reason):
    """Transactions that a hook drops, or raises at, are counted with all their spans."""
    transactions, errors, lost, _ = run(body)

    assert transactions == []
    assert len(errors) == 2
    assert lost == {("transaction", reason): 2, ("span", reason): 4}


def test_what_a_hook_changes_stays_in_its_event():
    """A hook that changes an event in place does not change the next one."""
    body = "event['spans'][0]['data']['n'] += 1; return event"
    transactions, _, _, _ = run(body)

    assert [event["spans"][0]["data"]["n"] for event in transactions] == [2, 2]
