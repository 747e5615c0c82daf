"""Plain values: names beside them, names that are exempt, names that hold data."""

from __future__ import annotations

import json

import pytest

from otel_sentry.scrubbing import FILTERED, Scrubber
from otel_sentry.scrubbing._rules import MAX_KNOWN_KEYS

X = "Zq9xSekritWv"


def scrub(value):
    """Return a value that stands in an attribute, scrubbed."""
    return Scrubber().attributes({"x": value})["x"]


@pytest.mark.parametrize(
    "key", ["environment", "release", "dist", "trace_id", "function", "module"]
)
def test_names_of_the_protocol_in_data(key):
    """A variable or attribute that has a name of Sentry's protocol is read as any other."""
    text = f"Settings(password={X!r})"
    frame = {"function": "read", "vars": {key: text, "deep": [{key: text}]}}
    event = {
        "stacktrace": {"frames": [frame]},
        "extra": {key: text},
        "contexts": {"app": {key: text}},
        "tags": {key: text},
        "request": {"env": {key: text}, "data": {key: text}},
        "breadcrumbs": {"values": [{"data": {key: text}}]},
    }
    assert X not in json.dumps(Scrubber().event(event))
    assert X not in json.dumps(Scrubber().attributes({key: text, "x": {key: text}}))


def test_names_of_the_protocol_in_the_protocol():
    """Ids, the release, the environment and source code stay as they are."""
    frame = {
        "filename": "token: x.py",
        "function": "token: read",
        "context_line": "token = read_token()",
        "vars": {"trace_id": "0123456789abcdef0123456789abcdef"},
    }
    event = {
        "event_id": "0" * 32,
        "release": "shop@1.2.3.dev",
        "environment": "token: none of it",
        "dist": "4111111111111111",
        "exception": {"values": [{"module": "token: x", "stacktrace": {"frames": [frame]}}]},
        "contexts": {"trace": {"trace_id": "4111111111111111", "span_id": "4111111111111111"}},
        "extra": {"release": "shop@1.2.3.dev", "parent_span_id": "4111111111111111"},
    }
    assert Scrubber().event(event) == event


@pytest.mark.parametrize(
    "key",
    [
        '{"password":"%s"}', "https://h/?token=%s", "https://app:%s@h/", "Authorization: Basic %s",
        "a=1&token=%s", "token: %s",
    ],
)  # fmt: skip
def test_keys_that_hold_data(key):
    """A body that was posted as a form, or an URL, is read as a text where it is a key."""
    key = key % X
    event = {"request": {"data": {key: ""}}, "extra": {"sizes": {key: 200}}}
    assert X not in json.dumps(Scrubber().event(event))
    assert X not in json.dumps(Scrubber().attributes({key: 1}))


@pytest.mark.parametrize(
    "key",
    [
        "a=1",
        "token",
        "https://shop.example/?page=1",
        "Password (repeat)",
        "user[name]",
        "GET /",
        "1",
    ],
)
def test_other_keys_stay(key):
    """A key without a secret in it stays."""
    assert list(Scrubber().attributes({key: 0.5})) == [key]
    assert list(Scrubber().event({"extra": {key: 0.5}})["extra"]) == [key]


@pytest.mark.parametrize(
    ("mapping", "field"),
    [
        ({"Name": "/shop/db_password", "Type": "SecureString", "Value": X}, "Value"),
        ({"Key": "password", "Value": X}, "Value"),
        ({"ParameterKey": "DbPassword", "ParameterValue": X}, "ParameterValue"),
        ({"field": "password", "value": X}, "value"),
        ({"name": "bob", "key": "password", "value": X}, "value"),
        ({"header": "Authorization", "value": X}, "value"),
        ({"k": "password", "v": X}, "v"),
        ({"name": "pin", "value": 1234}, "value"),
        ({"name": "password", "value": [X]}, "value"),
    ],
)
def test_a_name_beside_its_value(mapping, field):
    """A mapping may say the name of a value beside it, in a spelling of its own."""
    assert scrub([mapping]) == [{**mapping, field: FILTERED}]


@pytest.mark.parametrize(
    "mapping",
    [
        {"Name": "/shop/page_size", "Type": "String", "Value": "50"},
        {"Key": "Team", "Value": "checkout"},
        {"name": "token_count", "value": 17},
        {"name": "use_token_auth", "value": True},
        {"name": "time_to_first_token", "value": 0.25},
        {"name": "auth", "type": "button"},
        {"k": "page", "v": 2, "value": 3},
        {"name": 7, "key": None, "value": "x"},
    ],
)
def test_a_harmless_name_beside_its_value(mapping):
    """Other names leave the value alone, and so do flags and durations."""
    assert scrub([mapping]) == [mapping]


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("http.response.header.vary", ("cookie", "accept")),
        ("http.response.header.vary", ("Cookie", "Accept-Encoding")),
        ("tags", ["auth", "login"]),
        ("fields", ["email", "age"]),
    ],
)
def test_a_list_of_names(key, names):
    """An attribute that lists two names is no name and its value."""
    assert Scrubber().attributes({key: names}) == {key: list(names)}


@pytest.mark.parametrize(
    ("key", "pair"),
    [
        ("header", ["authorization", f"Bearer {X}"]),
        ("pair", ("password", X)),
        ("headers", [["x-api-key", "hunter"], ["accept", "text"]]),
        ("x", {"fields": ["password", "hunter"]}),
    ],
)
def test_a_pair(key, pair):
    """A name and its value lose the value: in lists of pairs, in mappings and in attributes."""
    scrubbed = json.dumps(Scrubber().attributes({key: pair}))
    assert X not in scrubbed
    assert "hunter" not in scrubbed


def test_names_that_were_seen_before():
    """What is remembered of the names in mappings changes no answer, wherever they come again."""
    scrubber = Scrubber()
    said = {"host": "shop.example", "cookie": "a=b", "release": "1", "http.route": "/r/{token}"}
    said |= {"cache.key": f"user:{X}", "db.statement": f"SELECT {X!r}", "filename": "shop.py"}
    harmful = dict.fromkeys(said, f"token={X}")

    for _ in range(3):
        for mapping in (said, harmful, dict.fromkeys(said, "user:7")):
            for part in ("extra", "breadcrumbs"):
                event = {part: {"values": mapping, "more": [mapping]}}
                assert scrubber.event(event) == Scrubber().event(event)
            assert scrubber.attributes(mapping) == Scrubber().attributes(mapping)


def test_endless_names_leave_room_for_attributes():
    """A client that invents names does not make those of spans forgotten, nor memory grow."""
    scrubber = Scrubber()
    for start in range(0, 3 * MAX_KNOWN_KEYS, 100):
        names = [f"x-{number}" for number in range(start, start + 100)]
        scrubber.event({"request": {"headers": {**dict.fromkeys(names, "1"), "y" * 1000: "1"}}})
    ordinary = scrubber._values.ordinary

    assert MAX_KNOWN_KEYS // 4 < len(ordinary) <= MAX_KNOWN_KEYS // 2
    assert max(map(len, ordinary)) < 1000
    scrubber.attributes({"http.scheme": "http"})
    assert "http.scheme" in ordinary
