from __future__ import annotations

import io
import logging

import pytest
import sentry_sdk
from sentry_sdk.envelope import Item

from otel_sentry import _sentry_sdk, transport
from otel_sentry.capture import EncodedTransaction
from otel_sentry.errors.hooks import Hooks
from otel_sentry.scrubbing import Scrubber

# What tests/compatibility cannot tell apart, or only in whole processes.


@pytest.fixture
def version_3(monkeypatch):
    """The options of sentry-sdk 3, as far as we use those it lacks."""
    options = dict(_sentry_sdk.DEFAULT_OPTIONS)
    options.pop("send_default_pii", None)
    monkeypatch.setattr(_sentry_sdk, "DEFAULT_OPTIONS", options)


def test_personal_data_in_version_2():
    """Version 2 is told by its option; `false` is not named, since that is deprecated."""
    assert _sentry_sdk.personal_data(send=True) == {"send_default_pii": True}
    assert _sentry_sdk.personal_data(send=False) == {"send_default_pii": None}


def test_personal_data_in_version_3(version_3):
    """Version 3, which collects it unless it is told otherwise, is told otherwise."""
    assert _sentry_sdk.personal_data(send=True) == {"data_collection": {}}
    told = _sentry_sdk.personal_data(send=False)["data_collection"]
    assert told["user_info"] is False
    assert "-ip" in told["http_headers"]["request"]["terms"]


def test_an_option_that_is_gone(caplog):
    """An option that sentry-sdk no longer has is left out, with one warning that names it."""
    with caplog.at_level(logging.WARNING, "otel_sentry"):
        known = _sentry_sdk.known_options({"dsn": None, "an_option_of_2020": 1})

    assert known == {"dsn": None}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "an_option_of_2020" in caplog.text


@pytest.mark.parametrize(("told", "stay"), [({"queues": False}, True), ({"queues": True}, False)])
def test_arguments_of_tasks(version_3, told, stay):
    """In version 3 whatever `data_collection` says is said by the application, or by us."""
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope() as scope:
        scope.set_client(sentry_sdk.Client())
        sentry_sdk.get_client().options["data_collection"] = told

        assert _sentry_sdk.arguments_stay_here() is stay


def test_an_adopted_client_streams_no_spans():
    """What sentry-sdk would stream beside our transactions, unscrubbed, stays here."""
    if "trace_lifecycle" not in _sentry_sdk.DEFAULT_OPTIONS:
        pytest.skip("this sentry-sdk streams none")
    client = sentry_sdk.Client(
        "https://public@sentry.invalid/1",
        trace_lifecycle="stream",
        traces_sample_rate=1.0,
        default_integrations=False,
        auto_enabling_integrations=False,
    )
    assert client.span_batcher is not None

    Hooks(Scrubber(), lambda _: {}).install(client)

    assert client.span_batcher is None
    client.close(timeout=0)


@pytest.mark.parametrize("counts_spans", [True, False])
def test_spans_of_lost_transactions_are_counted_once(monkeypatch, counts_spans):
    """A lost transaction with three spans is one transaction and four spans, whoever counts."""
    if not counts_spans:
        monkeypatch.setattr(transport, "COUNTS_SPANS", False)
        monkeypatch.setattr(EncodedTransaction, "data_category", "other")  # unknown to version 3
    elif not _sentry_sdk.COUNTS_SPANS:
        pytest.skip("this sentry-sdk does not count them")
    options = dict(sentry_sdk.Client("https://public@sentry.invalid/1").options)
    sends = transport.SentryTransport(options)

    sends.record_lost_event("queue_overflow", item=EncodedTransaction({}, ["{}"] * 3))

    assert sends._discarded_events["span", "queue_overflow"] == 4
    sends.kill()


def test_a_transaction_is_written_as_sentry_sdk_writes_an_item():
    """The header, which is written by hand, is that of this version of sentry-sdk."""
    item, ours, theirs = EncodedTransaction({"a": 1}, ["{}"]), io.BytesIO(), io.BytesIO()

    item.serialize_into(ours)
    Item.serialize_into(item, theirs)

    assert ours.getvalue() == theirs.getvalue()
