from __future__ import annotations

import json

import pytest

from otel_sentry.scrubbing import FILTERED, Scrubber

X = "Zq9xSekrit7Wv"


def test_cyclic_values():
    """A value that holds itself is cut where it begins again, however many ways lead there."""
    cycle: dict = {"password": X}
    cycle.update({"a": cycle, "b": [cycle, cycle]})
    assert Scrubber().attributes({"x": cycle}) == {
        "x": {"password": FILTERED, "a": FILTERED, "b": [FILTERED, FILTERED]}
    }


def test_values_that_unfold():
    """Shared lists that unfold to billions are cut."""
    bomb: list = [X]
    for _ in range(20):
        bomb = [bomb] * 10
    shown = json.dumps(Scrubber().attributes({"x": bomb}))
    assert len(shown) < 2_000_000


@pytest.mark.parametrize("way", ["text", "statement"])
def test_ten_megabytes(way):
    """A huge text is cut, its secrets gone, and half a secret at the cut, too."""
    scrub = getattr(Scrubber(), way)
    scrubbed = scrub(f"mail bob@mail.example {X[:1]}" + "a " * 5_000_000 + f"password='{X}'")
    assert len(scrubbed) < 66_000
    assert scrubbed.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert "bob@" not in scrubbed
    assert scrub(str(scrubbed)) == scrubbed
    card = "x" * (65_536 - 12) + "4111111111111111"
    assert "4111" not in scrub(card)


def test_keys_that_are_no_strings():
    """Bytes, numbers and tuples as keys are read as texts."""
    value = {b"password": X, ("api_key", 1): X, 7: "x", None: "y"}
    assert Scrubber().attributes({"v": value})["v"] == {
        "password": FILTERED,
        "('api_key', 1)": FILTERED,
        "7": "x",
        "None": "y",
    }
    assert Scrubber().attributes({b"password": X, 7: "a@mail.example"}) == {
        "password": FILTERED,
        "7": FILTERED,
    }


def test_what_cannot_be_scrubbed_does_not_leave(caplog):
    """A value that raises when it is looked at takes its part with it, and nobody else's."""

    class Hostile(str):
        __slots__ = ()

        def __contains__(self, _):
            raise RuntimeError(X)

    class Key:
        def __str__(self):
            raise RuntimeError(X)

    scrubber = Scrubber()
    assert scrubber.text(Hostile("x" * 300)) == FILTERED
    assert scrubber.attributes({"a": {Key(): X}}) == {}
    assert scrubber.event({"event_id": "1", "extra": {Key(): X}}) == {"event_id": "1"}
    assert X not in caplog.text


def test_odd_fields_of_an_event():
    """Fields of another type than the protocol says are scrubbed as any value."""
    event = {
        "_meta": "x",
        "spans": [{"op": f"token={X}", "description": None, "data": None, "tags": {"pin": 1}}],
        "logentry": f"token={X}",
        "transaction": 7,
        "request": {"url": 5},
    }
    scrubbed = Scrubber().event(event)
    assert X not in json.dumps(scrubbed)
    data = {"db.system": 7, "db.statement": 5}
    assert Scrubber().attributes(data) == data
