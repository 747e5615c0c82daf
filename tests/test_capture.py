from __future__ import annotations

import json
import sys
import uuid
from contextvars import copy_context
from copy import deepcopy
from datetime import date, datetime, timedelta, timezone

import pytest
import sentry_sdk
from hypothesis import example, given
from hypothesis import strategies as st
from sentry_sdk.integrations.argv import ArgvIntegration
from sentry_sdk.integrations.stdlib import StdlibIntegration
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.serializer import serialize
from sentry_sdk.transport import Transport
from sentry_sdk.utils import format_timestamp

from otel_sentry.capture import _WITH_REQUEST, Capture, _now, is_plain
from otel_sentry.scrubbing import Scrubber
from otel_sentry.transactions.event import Transaction

EPOCH = datetime.fromtimestamp(0, timezone.utc)


class FarEnd(Transport):
    """Keeps envelopes, and what is counted as lost."""

    def __init__(self, options=None):
        super().__init__(options)
        self.envelopes = []
        self.lost = []

    def capture_envelope(self, envelope):
        self.envelopes.append(envelope)

    def record_lost_event(self, reason, data_category=None, item=None, *, quantity=1):
        self.lost.append((reason, data_category, quantity))

    def transactions(self):
        """Return the transactions as they would arrive."""
        return [json.loads(envelope.items[0].get_bytes()) for envelope in self.envelopes]


@pytest.fixture
def client(monkeypatch):
    """A client of sentry-sdk's in scopes of its own, without automatic integrations."""
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope() as scope:
        made = sentry_sdk.Client(
            "https://public@sentry.invalid/1",
            transport=FarEnd,
            default_integrations=False,
            integrations=[ArgvIntegration(), StdlibIntegration()],
            release="1.2.3",
            environment="test",
        )
        scope.set_client(made)
        yield made


class Unreadable:
    """What cannot be written as text, as an object of a database whose session has ended."""

    def __str__(self):
        raise LookupError


def make_transaction(spans=1):
    """Return a transaction as `transaction_event` makes it."""
    trace = {"trace_id": "a" * 32, "span_id": "b" * 16, "op": "http.server", "data": {"n": 1}}
    event = {
        "type": "transaction",
        "transaction": "GET /",
        "transaction_info": {"source": "route"},
        "start_timestamp": 1.0,
        "timestamp": 2.0,
        "contexts": {"trace": trace},
        "platform": "python",
    }
    return Transaction(event, [f'{{"span_id":"{number:016x}"}}' for number in range(spans)], {})


def capture(**made):
    """Capture one transaction."""
    Capture(Scrubber())(make_transaction(**made), {"trace_id": "a" * 32})


def test_scopes_reach_the_transaction_and_are_scrubbed(client):
    """User, tags, extra, contexts and the client's options are in it; secrets are not."""
    sentry_sdk.set_user({"id": "7"})
    sentry_sdk.set_tag("tenant", "acme")
    sentry_sdk.set_extra("password", "Zq9xSekrit7Wv")
    sentry_sdk.set_context("cart", {"token": "Zq9xSekrit7Wv", "items": 2})

    capture()

    (event,) = client.transport.transactions()
    assert event["user"] == {"id": "7"}
    assert event["tags"] == {"tenant": "acme"}
    assert event["extra"]["password"] == "[Filtered]"
    assert event["contexts"]["cart"] == {"token": "[Filtered]", "items": 2}
    assert (event["release"], event["environment"]) == ("1.2.3", "test")
    assert event["contexts"]["trace"]["data"] == {"n": 1}
    assert client.transport.envelopes[0].headers["trace"] == {"trace_id": "a" * 32}


def test_a_token_in_the_path_goes_from_what_scopes_add(client):
    """What the root's route calls a token goes from tags, contexts and the scope's breadcrumbs."""
    secret = "Zq9xSekrit7Wv"
    sentry_sdk.set_tag("reset", secret)
    sentry_sdk.set_context("cart", {"id": f"of {secret}", secret: 1})
    sentry_sdk.add_breadcrumb(message=f"mailed {secret}", data={"to": secret}, level="info")

    made = make_transaction()._replace(secrets=frozenset({secret}))
    Capture(Scrubber())(made, {})

    (event,) = client.transport.transactions()
    assert event["tags"] == {"reset": "[Filtered]"}
    assert event["contexts"]["cart"]["id"] == "of [Filtered]"
    (crumb,) = event["breadcrumbs"]["values"]
    assert (crumb["message"], crumb["data"]) == ("mailed [Filtered]", {"to": "[Filtered]"})


def test_no_sampling_context_is_no_header(client):
    """As sentry-sdk has it, an envelope says nothing of a trace that came without one."""
    Capture(Scrubber())(make_transaction(), {})
    (envelope,) = client.transport.envelopes
    assert set(envelope.headers) == {"event_id", "sent_at"}


@given(st.integers(0, 2**52).map(lambda it: EPOCH + timedelta(microseconds=it)))
@example(EPOCH)
def test_times_are_written_as_sentry_sdk_does(now):
    """To six digits, also where they are zeros, and in UTC."""

    class Clock(datetime):
        """A clock that stands still."""

        @classmethod
        def now(cls, tz):
            return now.astimezone(tz)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otel_sentry.capture.datetime", Clock)
        assert _now() == format_timestamp(now)


def test_what_the_process_says_of_itself_is_in_each_event(client, monkeypatch):
    """Arguments and runtime are serialised once, and again where they have changed."""
    capturing = Capture(Scrubber())
    for _ in range(2):
        capturing(make_transaction(), {})
    monkeypatch.setattr(sys, "argv", ["other", "--password=Zq9xSekrit7Wv"])
    for _ in range(2):
        capturing(make_transaction(), {})

    first, second, third, fourth = client.transport.transactions()
    assert first["extra"]["sys.argv"] == second["extra"]["sys.argv"] != []
    assert first["contexts"]["runtime"]["name"] == "CPython"
    assert second["contexts"]["runtime"] == first["contexts"]["runtime"]
    assert third["extra"]["sys.argv"] == ["other", "--password=[Filtered]"]
    remark = {"": {"rem": [["sensitive_key", "s"]]}}
    assert third["_meta"] == fourth["_meta"] == {"extra": {"sys.argv": {"1": remark}}}
    assert "_meta" not in first


def test_an_event_processor_cannot_rename_it(client):
    """sentry-sdk's framework integrations rename transactions; the name is ours, tags theirs."""

    def rename(event, hint):
        event["transaction"] = "/theirs"
        event.setdefault("tags", {})["seen"] = event["type"]
        return event

    sentry_sdk.get_isolation_scope().add_event_processor(rename)

    capture()

    (event,) = client.transport.transactions()
    assert event["transaction"] == "GET /"
    assert event["tags"] == {"seen": "transaction"}


def test_an_event_processor_that_drops_is_counted(client):
    """A transaction that an event processor drops is counted, with its spans."""
    sentry_sdk.get_isolation_scope().add_event_processor(lambda event, hint: None)

    capture(spans=3)

    assert client.transport.envelopes == []
    assert client.transport.lost == [
        ("event_processor", "transaction", 1),
        ("event_processor", "span", 4),
    ]


def test_spans_that_a_hook_removes_are_counted(client):
    """A hook may take spans out; those are counted, and the rest arrives."""

    def only_first(event, hint):
        return {**event, "spans": hint["otel_sentry"]()[:1]}

    client.options["before_send_transaction"] = only_first

    capture(spans=3)

    (event,) = client.transport.transactions()
    assert [span["span_id"] for span in event["spans"]] == [f"{0:016x}"]
    assert client.transport.lost == [("before_send", "span", 2)]


def test_attachments_for_transactions_are_sent(client):
    """What the application attached to transactions is in the envelope."""
    scope = sentry_sdk.get_isolation_scope()
    scope.add_attachment(b"seen", filename="a.txt", add_to_transactions=True)
    scope.add_attachment(b"unseen", filename="b.txt")

    capture()

    (envelope,) = client.transport.envelopes
    assert [item.headers.get("filename") for item in envelope.items] == [None, "a.txt"]


def test_breadcrumbs_that_are_spans_anyway_are_left_out(client):
    """The application's breadcrumbs are in it; those of queries and calls are its spans."""
    for category in ("query", "redis", "httplib", "shop"):
        sentry_sdk.add_breadcrumb(category=category, message=category)

    capture()

    (event,) = client.transport.transactions()
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["shop"]


@pytest.mark.parametrize(
    ("when", "seconds"),
    [
        (datetime(2026, 1, 1, tzinfo=timezone.utc), 1_767_225_600.0),
        ("2026-01-01T00:00:00Z", 1_767_225_600.0),
        (1_767_225_600, 1_767_225_600.0),
        ("yesterday", 0.0),
        ([], 0.0),
        (float("nan"), 0.0),
    ],
)
def test_a_breadcrumb_of_any_time(client, when, seconds):
    """A breadcrumb's time arrives in seconds, and one that is none loses nothing."""
    sentry_sdk.add_breadcrumb(category="shop", message="paid", timestamp=when)

    capture()

    (event,) = client.transport.transactions()
    (crumb,) = event["breadcrumbs"]["values"]
    assert (crumb["message"], crumb["timestamp"]) == ("paid", seconds)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (datetime(2026, 1, 1, tzinfo=timezone.utc), "2026-01-01 00:00:00+00:00"),
        (date(2026, 1, 1), "2026-01-01"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        ({"at": date(2026, 1, 1)}, {"at": "2026-01-01"}),
        (b"token=Zq9xSekrit7Wv", "token=[Filtered]"),
        ("x" * 10_000, "x" * 8191 + "\N{HORIZONTAL ELLIPSIS}"),
        ("bad \udcff", "bad ?"),
        pytest.param(10**5000, "<int>", id="5,001 digits"),
        (-(2**63), -(2**63)),
        (2**63, str(2**63)),
        (Unreadable(), "<Unreadable>"),
        ({Unreadable(): 1}, {"<Unreadable>": 1}),
    ],
)
def test_a_breadcrumb_of_any_value(client, value, sent):
    """What JSON has no word for, as `extra` of a log record may be, arrives as text."""
    sentry_sdk.add_breadcrumb(category="shop", data={"value": value})

    capture()

    (event,) = client.transport.transactions()
    assert event["breadcrumbs"]["values"][0]["data"] == {"value": sent}


def test_an_event_processor_that_takes_the_contexts_out(client):
    """The transaction keeps its own contexts, whatever an event processor leaves of the others."""

    def strip(event, hint):
        return {key: value for key, value in event.items() if key != "contexts"}

    sentry_sdk.get_isolation_scope().add_event_processor(strip)

    capture()

    (event,) = client.transport.transactions()
    assert event["contexts"]["trace"]["span_id"] == "b" * 16


@pytest.mark.parametrize("spans", [1, 20_000], ids=["alone", "with spans"])
def test_a_transaction_that_scopes_make_too_large(client, spans):
    """What Sentry would refuse whole is sent with texts cut, and without the older breadcrumbs."""
    for number in range(100):
        data = {f"{part}": "x" * 5_000 for part in range(20)}
        sentry_sdk.add_breadcrumb(category="shop", message=f"crumb {number}", data=data)
    sentry_sdk.set_context("cart", {"note": "y" * 5_000})

    capture(spans=spans)

    (envelope,) = client.transport.envelopes
    assert len(envelope.items[0].get_bytes()) <= 1024 * 1024
    (event,) = client.transport.transactions()
    assert event["contexts"]["trace"]["data"] == {"n": 1}
    assert event["contexts"]["cart"]["note"].startswith("y" * 255)
    crumbs = event["breadcrumbs"]["values"]
    assert crumbs[-1]["message"] == "crumb 99"
    assert len(crumbs[-1]["data"]["0"]) == 256
    assert len(event["spans"]) == spans


def test_what_a_hook_makes_too_large(client):
    """The same holds for what `before_send_transaction` returns with the spans in it."""

    def enlarge(event, hint):
        spans = [{**span, "data": {"note": "x" * 2_000}} for span in hint["otel_sentry"]()]
        return {**event, "spans": spans}

    client.options["before_send_transaction"] = enlarge

    capture(spans=900)

    (envelope,) = client.transport.envelopes
    assert len(envelope.items[0].get_bytes()) <= 1024 * 1024
    assert len(client.transport.transactions()[0]["spans"]) == 900


def test_spans_that_were_lost_before_are_counted(client):
    """What a transaction could not take in is counted where it is captured."""
    lost = {"buffer_overflow": 3, "internal_sdk_error": 1}

    Capture(Scrubber())(make_transaction()._replace(lost=lost), {})

    assert client.transport.lost == [
        ("buffer_overflow", "span", 3),
        ("internal_sdk_error", "span", 1),
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inside: st.dictionaries(st.text() | st.integers(), inside) | st.lists(inside),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["url", "method", "env", "headers", "cookies"]), VALUES))
@example({"headers": {"a": {"b": {"c": {"d": "e"}}}}})
@example({"url": "x" * 200})
def test_what_needs_no_serialiser(request_):
    """A request that is written without sentry-sdk's serialiser is what that would make of it."""
    if is_plain(request_, 100):
        serialised = serialize({"request": request_}, max_value_length=100)
        assert serialised == {"request": request_}


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        ({"url": "http://shop/", "env": {"n": 1}}, {"url": "http://shop/", "env": {"n": 1}}),
        ({"url": "x" * 30}, {"url": "x" * 17 + "..."}),
        ({"data": {"a": {1, 2}}}, {"data": {"a": [1, 2]}}),
        ({"headers": {"Cookie": "a=b"}}, {"headers": {"Cookie": "[Filtered]"}}),
        ({"url": "http://shop/", "method": b"GET"}, {"url": "http://shop/", "method": "GET"}),
    ],
)
def test_requests(client, request_, sent):
    """What integrations put in as the request arrives as JSON, cut and scrubbed."""
    client.options["max_value_length"] = 20
    scope = sentry_sdk.get_isolation_scope()
    scope.add_event_processor(lambda event, _: {**event, "request": request_})

    capture()

    (event,) = client.transport.transactions()
    assert event["request"] == sent


def test_meta_says_where_something_was_removed(client, monkeypatch):
    """`_meta` names every removed value, wherever in the transaction it stood, and no other."""
    monkeypatch.setattr(sys, "argv", ["shop", "--password=Zq9xSekrit7Wv"])
    sentry_sdk.set_extra("password", "Zq9xSekrit7Wv")
    sentry_sdk.set_tag("note", "token=Zq9xSekrit7Wv")
    sentry_sdk.set_context("cart", {"token": "Zq9xSekrit7Wv", "items": 2})
    sentry_sdk.add_breadcrumb(message="token=Zq9xSekrit7Wv")
    request = {"url": "http://shop/", "headers": {"Cookie": "a=b", "Accept": "*/*"}}
    scope = sentry_sdk.get_isolation_scope()
    scope.add_event_processor(lambda event, _: {**event, "request": request})

    capture()

    (event,) = client.transport.transactions()
    assert set(paths(event["_meta"])) == {
        ("extra", "sys.argv", "1"),
        ("extra", "password"),
        ("tags", "note"),
        ("contexts", "cart", "token"),
        ("request", "headers", "Cookie"),
        ("breadcrumbs", "values", "0", "message"),
    }


def paths(meta, path=()):
    """Yield the path of each remark."""
    for key, item in meta.items():
        if key:
            yield from paths(item, (*path, key))
        else:
            yield path


def test_empty_parts_of_any_kind(client):
    """What an event processor leaves empty arrives, or is left out: JSON has no word for some."""
    empty = {"user": b"", "modules": {}, "fingerprint": (), "logger": None, "extra": set()}
    sentry_sdk.get_isolation_scope().add_event_processor(lambda event, _: {**event, **empty})

    capture()

    (event,) = client.transport.transactions()
    assert event["transaction"] == "GET /"


@pytest.mark.parametrize("recursive", [False, True])
def test_what_sentry_sdks_scrubber_looks_into(recursive):
    """Its look into the request is all that it does to what nearly every transaction has."""
    scrubber = EventScrubber(["name"], recursive=recursive)
    said = {"name": "x", "ip_address": "x", "deep": {"name": "x", "list": [{"name": "x"}]}}
    parts = ("headers", "cookies", "data")
    whole = {
        part: deepcopy({**said, **dict.fromkeys(parts, said), "data": said, "values": [said]})
        for part in _WITH_REQUEST
    }
    looked = deepcopy(whole)

    scrubber.scrub_event(whole)
    scrubber.scrub_request(looked)

    assert repr(whole["request"]["headers"]["name"]) != repr("x")
    plain = [serialize(event) for event in (whole, looked)]
    assert plain[0] == plain[1]


@pytest.mark.parametrize("part", ["extra", "user"])
def test_a_scrubber_of_the_applications(client, part):
    """What sentry-sdk is told to scrub is scrubbed, wherever sentry-sdk would."""
    client.options["event_scrubber"] = EventScrubber(["flavour"])
    scope = sentry_sdk.get_isolation_scope()
    request = {"method": "GET", "headers": {"flavour": "x", "fine": "y"}}
    scope.add_event_processor(lambda event, _: {**event, "request": request})
    capture()
    scope.add_event_processor(lambda event, _: {**event, part: {"flavour": "x"}})
    capture()

    first, second = client.transport.transactions()
    assert first["request"]["headers"] == second["request"]["headers"]
    assert first["request"]["headers"] == {"flavour": "[Filtered]", "fine": "y"}
    assert second[part] == {"flavour": "[Filtered]"}


def test_without_a_request(client):
    """What is no request has none, not an empty one."""
    sentry_sdk.get_isolation_scope().set_extra("order", 7)

    capture()

    (event,) = client.transport.transactions()
    assert event["extra"]["order"] == 7
    assert "request" not in event


def test_without_a_client_nothing_happens():
    """An inactive client takes nothing, and nothing is raised."""

    def inactive():
        sentry_sdk.Scope.set_current_scope(sentry_sdk.Scope())
        sentry_sdk.get_current_scope().set_client(None)
        capture()

    copy_context().run(inactive)
