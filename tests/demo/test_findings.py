from __future__ import annotations

import pytest

from otel_sentry.cli._demo_findings import count_spans, judge

_SECRETS = {"password": "hunter2"}
_TRACE = "a" * 32


def _transaction(op, name, *spans, trace_id=_TRACE):
    number = abs(hash((op, name))) % 10**6
    return {
        "transaction": name,
        "start_timestamp": 1.0,
        "timestamp": "2026-11-21T22:00:00Z",
        "contexts": {"trace": {"trace_id": trace_id, "span_id": f"{name}{number}", "op": op}},
        "spans": [
            {
                "span_id": f"{name}{op}",
                "op": op,
                "description": "connect",
                "start_timestamp": 1.0,
                "timestamp": 2.0,
            }
            for op in spans
        ],
    }


def _error(kind, span_id, trace_id=_TRACE):
    return {
        "exception": {"values": [{"type": "Cause"}, {"type": kind, "value": "why"}]},
        "contexts": {"trace": {"trace_id": trace_id, "span_id": span_id}},
        "request": {"headers": {"authorization": "[Filtered]"}},
        "_meta": {"request": "[Filtered]"},
    }


def _complete():
    transactions = [
        _transaction("http.server", "POST /orders", "db", "db.redis", "queue.publish"),
        _transaction("queue.process", "shop.charge_card"),
        _transaction("queue.process", "shop.pack_order"),
        _transaction("queue.process", "shop.send_receipt"),
        _transaction("queue.process", "shop.send_receipt"),
    ]
    errors = [
        _error("ZeroDivisionError", "POST /ordersdb"),
        _error("KeyError", transactions[1]["contexts"]["trace"]["span_id"]),
    ]
    return transactions, errors


def test_everything_arrived():
    """A complete set lacks nothing, names each error's span and what was filtered."""
    transactions, errors = _complete()
    findings = judge(transactions, errors, [b"{}"], _SECRETS)
    assert findings.trace_id == _TRACE
    assert findings.missing == ()
    assert findings.leaks == ()
    assert findings.filtered == ("request.headers.authorization",)
    assert findings.errors == (
        f"ZeroDivisionError: why  (in db connect, trace {_TRACE})",
        f"KeyError: why  (in queue.process shop.charge_card, trace {_TRACE})",
    )
    assert count_spans(transactions) == 8


def test_nothing_arrived():
    """Nothing at all is reported as such, in a line for each thing."""
    findings = judge([], [], [], _SECRETS)
    assert findings.trace_id is None
    assert findings.missing == (
        "no transaction 'POST /orders' of the web application",
        "no error event for the ZeroDivisionError",
        "no error event for the KeyError",
        "no [Filtered] anywhere, but secrets were sent",
    )


def _lose_a_receipt(transactions, errors):
    del transactions[4]


def _split_the_trace(transactions, errors):
    transactions[2]["contexts"]["trace"]["trace_id"] = "b" * 32


def _lose_redis(transactions, errors):
    del transactions[0]["spans"][1]


def _lose_an_error(transactions, errors):
    del errors[1]


def _cut_an_error_off(transactions, errors):
    errors[1]["contexts"]["trace"]["span_id"] = "0" * 16


def _take_another_trace(transactions, errors):
    errors[1]["contexts"]["trace"]["trace_id"] = "b" * 32


def _filter_a_time(transactions, errors):
    transactions[0]["spans"][1]["timestamp"] = "[Filtered]"


def _filter_nothing(transactions, errors):
    for error in errors:
        del error["request"]


@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        (_lose_a_receipt, "1 of 2 transactions of shop.send_receipt in the order's trace"),
        (_split_the_trace, "1 of 1 transactions of shop.pack_order in the order's trace"),
        (_lose_redis, "no Redis span in the order's trace"),
        (_lose_an_error, "no error event for the KeyError"),
        (_cut_an_error_off, "the KeyError belongs to no span that arrived"),
        (_take_another_trace, "the KeyError belongs to no span that arrived"),
        (_filter_a_time, "1 of 16 times of spans"),
        (_filter_nothing, "no [Filtered] anywhere, but secrets were sent"),
    ],
)
def test_one_thing_is_missing(damage, missing):
    """Each thing that the demo promises is missed on its own."""
    transactions, errors = _complete()
    damage(transactions, errors)
    assert judge(transactions, errors, [b"{}"], _SECRETS).missing == (missing,)


def test_a_secret_leaked():
    """A secret anywhere in what was received is a leak, and is named without its value."""
    transactions, errors = _complete()
    findings = judge(transactions, errors, [b"{}", b'{"a": "password=hunter2"}'], _SECRETS)
    assert findings.leaks == ("password",)


def test_events_without_the_usual_parts_do_no_harm():
    """An event without contexts, exception or spans is described, not a crash."""
    findings = judge([{}], [{"message": "hello"}], [], _SECRETS)
    assert findings.errors == ("None: None  (in no span that arrived, trace ?)",)
