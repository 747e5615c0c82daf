from __future__ import annotations

import copy
import json
import pickle
from datetime import date

import pytest
from sentry_relay.processing import StoreNormalizer, meta_with_chunks

from otel_sentry.scrubbing import FILTERED, Scrubber, merged, remarks
from tests.relay import left_to_strip

X = "Zq9xSekrit7Wv"


def rules(meta):
    return [rule for rule, _ in meta[""]["rem"]]


def test_meta_says_which_rule_removed_what():
    """`_meta` names the rules beside each removed value, and Sentry's ingestion takes it."""
    event = {
        "event_id": "0" * 32,
        "logentry": {"formatted": "token=abc of bob@mail.example"},
        "extra": {"password": X, "list": [1, {"card": 4111111111111111}], "fine": "x"},
        "request": {"headers": {"Cookie": "a=b"}, "cookies": {"a": "b"}},
        "_meta": {"extra": {"fine": {"": {"len": 9}}}},
    }
    scrubbed = Scrubber().event(event)

    meta = scrubbed["_meta"]
    assert rules(meta["extra"]["password"]) == ["sensitive_key"]
    assert rules(meta["extra"]["list"]["1"]["card"]) == ["card_number"]
    assert meta["extra"]["fine"] == {"": {"len": 9}}
    assert rules(meta["logentry"]["formatted"]) == ["sensitive_key", "email"]
    assert rules(meta["request"]["headers"]["Cookie"]) == ["sensitive_key"]
    assert rules(meta["request"]["cookies"]["a"]) == ["sensitive_key"]
    plain = json.loads(json.dumps(scrubbed))
    normalized = StoreNormalizer(project_id=1).normalize_event(plain)
    assert '"err"' not in json.dumps(normalized["_meta"])
    assert normalized["_meta"]["extra"]["password"] == meta["extra"]["password"]
    assert meta_with_chunks(plain, plain["_meta"])
    whole = {"extra": {"fine": ("x",)}, "when": [date(2026, 1, 1)]}
    assert "_meta" not in Scrubber().event(whole), "nothing was removed"
    assert Scrubber().event(scrubbed) == scrubbed, "a second time adds nothing"


def test_marks_travel():
    """A removed text can be copied and pickled with its rules, and merged `_meta` keeps both."""
    removed = Scrubber().attributes({"password": X})["password"]
    for other in (copy.deepcopy(removed), pickle.loads(pickle.dumps(removed))):
        assert (other, other.rules) == (FILTERED, ("sensitive_key",))
    assert remarks([removed])["0"] == {"": {"rem": [["sensitive_key", "s"]]}}
    assert merged({"a": {"b": 1}, "c": 1}, {"a": {"d": 2}, "c": 2}) == {
        "a": {"b": 1, "d": 2},
        "c": 2,
    }


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ("/reset/{token}", f"/reset/{X}"),
        ("POST /reset/{token}", f"/app/reset/{X}/"),
        ("/reset/<token>", f"/reset/{X}?a=1"),
        ("/reset/<str:token>/<int:page>", f"/reset/{X}/1"),
        ("/files/{secret:path}", f"/files/{X}#x"),
        ("/a.b/{token}/c", f"/a.b/{X}/c"),
    ],
)
def test_secrets_of_a_path(route, path):
    """What the route calls a token goes from the path and from wherever else it stands."""
    scrubber = Scrubber()
    for _ in range(2):
        event = {
            "transaction": route,
            "request": {"url": f"https://shop.example{path}"},
            "breadcrumbs": {"values": [{"message": f"mailed {X} to"}]},
            "extra": {"raw_path": f"b'{path}'", X: 1},
        }
        scrubbed = scrubber.event(event)
        assert X not in json.dumps(scrubbed)
        assert scrubbed["transaction"] == route
        attributes = {"http.route": route, "http.target": path, "url.full": f"https://h{path}"}
        assert X not in json.dumps(scrubber.attributes({**attributes, "note": [f"for {X}"]}))


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ("/users/{user_id}", "/users/12345"),
        ("/users", "/users"),
        ("/reset/{token}", "/other/12345"),
        ("/reset/{token}", "/reset/abc"),  # would be found in many a word
        (None, "/reset/12345"),
        ("/reset/{token}", None),
    ],
)
def test_other_paths_stay(route, path):
    """A path whose route names no secret, or that is not of the route, stays."""
    attributes = {"http.route": route, "http.target": path}
    assert Scrubber().attributes(attributes) == attributes


def test_routes_that_are_remembered_are_bounded():
    """Endless routes cost no memory without end."""
    scrubber = Scrubber()
    for number in range(1100):
        scrubber.attributes({"http.route": f"/{number}/{{token}}", "http.target": "/"})
    assert len(scrubber._routes._known) == 1024


def test_variables_of_library_frames():
    """Variables of frames that are not the application's go: frameworks hold whole requests."""
    frames = [{"in_app": False, "vars": {"pieces": [X]}}, {"in_app": True, "vars": {"n": "2"}}]
    event = Scrubber().event({"stacktrace": {"frames": frames}})
    assert event["stacktrace"]["frames"][0]["vars"] == {"pieces": FILTERED}
    assert event["stacktrace"]["frames"][1]["vars"] == {"n": "2"}


def test_an_asgi_scope():
    """The client's address goes from a scope, unless personal data is allowed."""
    scope = {"type": "http", "scheme": "http", "client": ["1.2.3.4", 5]}
    assert Scrubber().attributes({"scope": scope})["scope"]["client"] == FILTERED
    kept = Scrubber(send_default_pii=True).attributes({"scope": scope})
    assert kept["scope"]["client"] == ["1.2.3.4", 5]


def test_parameters_of_log_lines():
    """Parameters go where the text around them says that one is a secret, or where none does."""
    scrub = Scrubber().event
    secret = {"message": "password=%s", "formatted": f"password={X}", "params": [X, 1]}
    fine = {"message": "page %s", "formatted": "page 2", "params": ["2"]}
    assert X not in json.dumps(scrub({"logentry": secret}))
    assert scrub({"logentry": fine})["logentry"] == fine
    assert scrub({"logentry": {"message": "a %s", "params": ["b"]}})["logentry"]["params"] == [
        FILTERED
    ]


@pytest.mark.parametrize(
    ("template", "params", "line", "expected"),
    [
        ("tok %(token)s", {"token": X}, f"tok {X}", "tok [Filtered]"),
        ("tok %(token)r!", {"token": X}, f"tok {X!r}!", "tok '[Filtered]'!"),
        ("pin %(pin)d of %(n)d", {"pin": 12, "n": 123}, "pin 12 of 123", "pin [Filtered] of 123"),
        ("page %(page)s", {"page": "2", "token": "page"}, "page 2", "page 2"),
        ("%(token)s", {"token": None}, "None", "None"),
        ("%(token)s", {"token": ""}, "", ""),
        ("%(token)d", {"token": 10**6000}, "1000", "1000"),
        ("%(token)s", {}, "x", "x"),
        (None, {"token": X}, "x", "x"),
    ],
)
def test_named_parameters_of_log_lines(template, params, line, expected):
    """What a log line's parameter holds whose name says that it is a secret goes from the line."""
    entry = {"message": template, "formatted": line, "params": params}
    scrubbed = Scrubber().event({"logentry": entry})["logentry"]
    assert scrubbed["formatted"] == expected
    assert Scrubber().log_line(line, template, params) == expected
    template = template and template.replace("%(", "{").replace(")", "}")
    assert Scrubber().log_line(line, template, params) == expected


@pytest.mark.parametrize(
    "word",
    [
        *("text", "context", "contexts", "trace", "value", "values", "time", "timestamp", "name"),
        *("file", "frame", "except", "exception", "type", "tag", "span", "stamp"),
    ],
)
def test_own_keys_leave_the_protocol(word):
    """A key of one's own that Sentry's protocol happens to hold removes data, and no structure."""
    frame = {"filename": "shop.py", "abs_path": "/shop.py", "lineno": 3, "vars": {word: "ours"}}
    error = {"type": "KeyError", "value": "x", "stacktrace": {"frames": [frame]}}
    event = {
        "type": "transaction",
        "timestamp": "2026-01-01T00:00:00Z",
        "contexts": {"trace": {"trace_id": "0" * 32, "span_id": "1" * 16}},
        "exception": {"values": [error]},
        "breadcrumbs": {"values": [{"timestamp": "2026-01-01T00:00:00Z", "data": {word: "ours"}}]},
        "spans": [{"span_id": "2" * 16, "timestamp": "x", "tags": {}, "data": {word: "ours"}}],
        "extra": {word: "ours", f"my_{word}": "ours", "other": 1},
    }
    scrubbed = Scrubber([word]).event(event)
    for key in ("type", "timestamp", "contexts"):
        assert scrubbed[key] == event[key]
    (kept,) = scrubbed["exception"]["values"]
    (kept_frame,) = kept["stacktrace"]["frames"]
    assert (kept_frame["filename"], kept_frame["lineno"]) == ("shop.py", 3)
    assert kept["type"] == (FILTERED if word == "type" else "KeyError")
    (crumb,) = scrubbed["breadcrumbs"]["values"]
    assert crumb["data"] == scrubbed["spans"][0]["data"] == {word: FILTERED}
    assert scrubbed["spans"][0]["tags"] == {}
    assert scrubbed["extra"] == {word: FILTERED, f"my_{word}": FILTERED, "other": 1}


def test_keys_that_are_secrets():
    """An e-mail address or a token as a key goes from the key, and no value is lost for it."""
    mapping = {"a@mail.example": 1, "b@mail.example": 2, "page": 3}
    expected = {FILTERED: 1, f"{FILTERED} (1)": 2, "page": 3}
    scrubber = Scrubber()
    for _ in range(2):
        assert scrubber.attributes(mapping) == expected
        assert scrubber.attributes({"deep": [mapping]}) == {"deep": [expected]}
    meta = {"extra": {"a@mail.example": {"": {"len": 5}}}}
    assert "a@mail" not in json.dumps(scrubber.event({"_meta": meta, "extra": mapping}))


def test_the_user_that_the_application_sets():
    """The application's user keeps its names and addresses; with `scrub_user` they go."""
    user = {"id": "a@mail.example", "full_name": "Bob", "email": "b@mail.example", "note": "x=1"}
    assert Scrubber().event({"user": user}) == {"user": user}
    scrubbed = Scrubber(scrub_user=True).event({"user": user})["user"]
    assert scrubbed == {"id": FILTERED, "full_name": FILTERED, "email": FILTERED, "note": "x=1"}
    assert Scrubber(["email"]).event({"user": user})["user"]["email"] == FILTERED
    assert Scrubber().event({"extra": {"email": "none", "last_name": "B"}})["extra"] == {
        "email": FILTERED,
        "last_name": FILTERED,
    }


def test_kept_keys_are_kept_on_every_road():
    """`keep_keys` keeps a header, a cookie and a pair in a text."""
    scrubber = Scrubber(keep_keys=["x-session-id", "theme_token"])
    assert scrubber.attributes({"x-session-id": "1"}) == {"x-session-id": "1"}
    assert scrubber.text("theme_token=dark") == "theme_token=dark"
    cookies = {"theme_token": "dark", "other": "x"}
    event = scrubber.event({"request": {"cookies": cookies}})
    assert event["request"]["cookies"] == {"theme_token": "dark", "other": FILTERED}


def test_the_oracle_finds_what_was_not_scrubbed():
    """Sentry's own scrubber finds each secret of an event that has not been through ours."""
    event = {
        "extra": {"password": X, "text": f"token={X}", "note": "bob@mail.example 4111111111111111"},
        "logentry": {"formatted": "Bearer abcdefgh to bob@mail.example"},
        "tags": {"fine": "SELECT token FROM t"},
    }
    found = " ".join(left_to_strip(event))
    assert all(path in found for path in ("extra.password", "extra.text", "extra.note", "logentry"))
    assert left_to_strip(Scrubber().event(event)) == []


def test_the_oracle_knows_ids():
    """A UUID whose digits could be a credit card's is an id; what stands beside it is looked at."""
    uuid = "48514733-4578-4809-b7c8-1dd51d897090"

    assert left_to_strip({"extra": {"task_id": uuid}}) == []
    assert left_to_strip({"extra": {"task_id": f"{uuid} 4111111111111111"}}) != []
