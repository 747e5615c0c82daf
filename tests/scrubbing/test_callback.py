from __future__ import annotations

import json

import pytest

from otel_sentry.options import Options
from otel_sentry.scrubbing import FILTERED, Scrubber

X = "Zq9xSekrit7Wv"


def scrubber(callback):
    return Scrubber(options=Options(scrub=callback))


def test_it_sees_path_value_and_rule():
    """The callback is told where each value stands and which rule would remove it, if any."""
    seen = []

    def callback(path, value, rule):
        seen.append((path, value, rule))
        return FILTERED if rule else value

    event = {
        "event_id": "1",
        "extra": {"password": {"a": X}, "list": ["x", f"token={X}"], "number": 2},
        "sdk": {"name": "x"},
    }
    scrubbed = scrubber(callback).event(event)

    assert seen == [
        ("extra.password", {"a": X}, "sensitive_key"),
        ("extra.list.0", "x", None),
        ("extra.list.1", f"token={X}", "sensitive_key"),
        ("extra.number", 2, None),
    ]
    assert scrubbed["extra"] == {
        "password": FILTERED,
        "list": ["x", f"token={FILTERED}"],
        "number": 2,
    }


def test_it_has_the_last_word():
    """What the callback returns is sent: the value itself, another one, or nothing."""

    def callback(path, value, rule):
        return {"token": value, "name": "someone", "size": None}.get(path, value)

    attributes = {"token": X, "name": "bob", "size": 3, "page": "1"}
    expected = {"token": X, "name": "someone", "size": None, "page": "1"}
    assert scrubber(callback).attributes(attributes) == expected


def test_one_that_raises_removes(caplog):
    """Where the callback raises the value is removed, and it is said, without the value."""

    def callback(path, value, rule):
        raise ValueError(X)

    ours = scrubber(callback)
    assert ours.attributes({"a": X, "b": 1}) == {"a": FILTERED, "b": FILTERED}
    assert ours.text(X) == ours.description("db", X) == FILTERED
    assert ours.event({"extra": {"a": [X]}})["extra"] == {"a": [FILTERED]}
    assert "calling the scrub callback" in caplog.text
    assert X not in caplog.text
    assert len(caplog.records) == 1, "said once"


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (b"a", "a"),
        ({1: (b"b", object)}, {"1": ["b", FILTERED]}),
        (object(), FILTERED),
        (1.5, 1.5),
        (None, None),
    ],
)
def test_what_it_returns_is_made_plain(answer, sent):
    """Whatever the callback returns can be written as JSON."""
    scrubbed = scrubber(lambda *_: answer).attributes({"a": "x"})
    assert scrubbed == {"a": sent}
    json.dumps(scrubbed)


def test_an_endless_answer_is_cut():
    """A list that holds itself does not get far."""
    endless: list = []
    endless.append(endless)
    assert FILTERED in json.dumps(scrubber(lambda *_: endless).attributes({"a": "x"}))


def test_texts_that_stand_alone():
    """A span's name has no path; a removed text is not shown a second time."""
    seen = []

    def callback(path, value, rule):
        seen.append((path, value, rule))
        return value if value == "page" else FILTERED

    ours = scrubber(callback)
    assert ours.text("page") == "page"
    assert ours.attributes({"a": FILTERED}) == {"a": FILTERED}
    assert seen == [("", "page", None)]


def test_it_can_come_late():
    """`otel_sentry.init()` may set the callback when values have been scrubbed before."""
    options = Options()
    ours = Scrubber(options=options)
    assert ours.text("page") == "page"
    options.scrub = lambda *_: "other"
    assert ours.text("page") == "other"
