from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from sentry_relay.processing import StoreNormalizer

from otel_sentry.capture import outline
from otel_sentry.options import Options
from otel_sentry.scrubbing import Scrubber, remarks
from otel_sentry.transactions.event import below_noise, transaction_event
from otel_sentry.transactions.translate import Translator
from otel_sentry.transactions.tree import Tree
from tests.spans import whole

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def make_span(number=1, parent=None, **fields):
    """Return a finished span of trace 1 that lasts a second."""
    fields = {
        "name": f"span {number}",
        "start_time": START,
        "end_time": START + SECOND,
        "resource": Resource({"service.name": "shop"}),
        "instrumentation_scope": InstrumentationScope("tests", "1.0"),
        **fields,
    }
    return ReadableSpan(
        context=SpanContext(1, number, is_remote=False, trace_flags=TraceFlags(1)),
        parent=parent and SpanContext(1, parent, is_remote=False),
        **fields,
    )


def make_event(root=None, children=(), **fields):
    """Return the transaction of a root and its children."""
    tree = Tree(root or make_span(**fields), list(children))
    return whole(transaction_event(tree, Translator(Scrubber())))


def test_a_whole_transaction():
    """This is what a request with a query becomes."""
    root = make_span(
        name="GET /items/{id}",
        kind=SpanKind.SERVER,
        attributes={"http.request.method": "GET", "http.route": "/items/{id}"},
    )
    child = make_span(2, 1, name="SELECT", kind=SpanKind.CLIENT, attributes={"db.system": "sqlite"})

    event = whole(transaction_event(Tree(root, [child]), Translator(Scrubber())))

    scope = {"otel.scope.name": "tests", "otel.scope.version": "1.0"}
    assert event == {
        "type": "transaction",
        "platform": "python",
        "transaction": "GET /items/{id}",
        "transaction_info": {"source": "route"},
        "start_timestamp": 1_700_000_000.0,
        "timestamp": 1_700_000_001.0,
        "contexts": {
            "trace": {
                "trace_id": f"{1:032x}",
                "span_id": f"{1:016x}",
                "op": "http.server",
                "status": "ok",
                "origin": "manual.otel",
                "data": {
                    "http.request.method": "GET",
                    "http.route": "/items/{id}",
                    "sentry.kind": "server",
                    **scope,
                },
            },
            "otel": {"resource": {"service.name": "shop"}},
        },
        "spans": [
            {
                "trace_id": f"{1:032x}",
                "span_id": f"{2:016x}",
                "parent_span_id": f"{1:016x}",
                "op": "db",
                "description": "SELECT",
                "status": "ok",
                "origin": "manual.otel",
                "start_timestamp": 1_700_000_000.0,
                "timestamp": 1_700_000_001.0,
                "data": {
                    "db.system": "sqlite",
                    "db.system.name": "sqlite",
                    "sentry.kind": "client",
                    **scope,
                },
            }
        ],
    }


def test_span_events_become_breadcrumbs():
    """Events of all spans are breadcrumbs, in order of time."""
    child = make_span(2, 1, events=[Event("second", {"n": 2}, START + 2000)])
    root = make_span(events=[Event("third", {}, START + 3000), Event("first", {}, START + 1000)])

    crumbs = make_event(root, [child])["breadcrumbs"]["values"]

    assert [crumb["message"] for crumb in crumbs] == ["first", "second", "third"]
    assert crumbs[1]["data"] == {"n": 2}


def test_links():
    """Links of the root are in its trace context, those of a span at the span."""
    link = Link(SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1)), {"why": "retry"})
    expected = {
        "trace_id": f"{7:032x}",
        "span_id": f"{8:016x}",
        "sampled": True,
        "attributes": {"why": "retry"},
    }

    event = make_event(make_span(links=[link]), [make_span(2, 1, links=[link])])

    assert event["contexts"]["trace"]["links"] == [expected]
    assert event["spans"][0]["links"] == [expected]


def test_what_was_removed_is_said_beside_it():
    """`_meta` names the rule at the position of the span; without a secret there is none."""
    children = [make_span(2, 1), make_span(3, 1, attributes={"password": "x"})]
    event = transaction_event(Tree(make_span(), children), Translator(Scrubber())).event

    remark = {"": {"rem": [["sensitive_key", "s"]]}}
    assert event["_meta"] == {"spans": {"1": {"data": {"password": remark}}}}
    assert "_meta" not in make_event()


def test_status_message():
    """The description of a status arrives."""
    event = make_event(status=Status(StatusCode.ERROR, "disk full"))

    assert event["contexts"]["trace"]["status"] == "internal_error"
    assert event["contexts"]["trace"]["data"]["sentry.status.message"] == "disk full"


@pytest.mark.parametrize(
    ("scope", "origin"),
    [
        ("opentelemetry.instrumentation.fastapi", "auto.otel.fastapi"),
        ("opentelemetry.instrumentation.aiohttp_client.x", "auto.otel.aiohttp_client"),
        ("fastapi", "auto.otel.fastapi"),
        ("elasticsearch-api", "auto.otel.elasticsearch"),
        ("shop", "manual.otel"),
        (None, "manual.otel"),
    ],
)
def test_origin(scope, origin):
    """The origin names the instrumentation."""
    event = make_event(instrumentation_scope=scope and InstrumentationScope(scope))

    assert event["contexts"]["trace"]["origin"] == origin


def test_a_clock_that_was_set_back():
    """A span never ends before it starts."""
    event = make_event(end_time=START - SECOND)

    assert event["timestamp"] == event["start_timestamp"]


def test_the_outline_has_no_data():
    """What sentry-sdk serialises is the transaction without spans and data."""
    event = make_event(children=[make_span(2, 1)], attributes={"a": 1})

    slim = outline(event)

    assert "spans" not in slim
    assert "data" not in slim["contexts"]["trace"]
    assert slim["transaction"] == "span 1"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": 123}, "123"),
        ({"name": None}, "None"),
        ({"kind": None}, "span 2"),
        ({"kind": "client"}, "span 2"),
        ({"events": [Event(5, {}, START)]}, "span 2"),
    ],
)
def test_an_odd_span_is_sent(fields, name):
    """What an application gave for a name or a kind loses no span: not this one, and no other."""
    odd = make_span(2, 1, **fields)

    event = make_event(children=[odd, make_span(3, 1)])

    assert [span["description"] for span in event["spans"]] == [name, "span 3"]
    assert make_event(odd)["transaction"] == name


def test_a_span_that_cannot_be_translated():
    """It is counted; the others are sent, and what was below it belongs to its parent."""
    odd = make_span(2, 1, start_time=object())

    transaction = transaction_event(
        Tree(make_span(), [odd, make_span(3, 2), make_span(4, 1)]), Translator(Scrubber())
    )

    assert transaction.lost == {"internal_sdk_error": 1}
    assert parents(transaction) == {3: 1, 4: 1}


def parents(transaction):
    """Return the parents of a transaction's spans, by their ids."""
    return {
        int(span["span_id"], 16): int(span["parent_span_id"], 16)
        for span in transaction.span_dictionaries()
    }


def is_noise(span):
    """Tell the spans that these tests leave out."""
    return span.name == "noise"


def test_what_is_below_noise_belongs_to_whom_that_is_below():
    """A span whose parent is left out has the nearest one that is sent."""
    noise = [make_span(2, 1, name="noise"), make_span(3, 2, name="noise")]
    # In any order: plumbing may begin in the same nanosecond as what is below it.
    tree = Tree(make_span(), [make_span(4, 3), *noise, make_span(5, 4), make_span(6, 1)])

    transaction = transaction_event(tree, Translator(Scrubber(), is_noise))

    assert parents(transaction) == {4: 1, 5: 4, 6: 1}
    assert transaction.lost == {}


def test_branches_of_noise_are_transactions():
    """Below a root that is left out each branch is a transaction, of the root's own parent."""
    translate = Translator(Scrubber(), is_noise)
    children = [make_span(3, 2), make_span(4, 3), make_span(5, 2, name="noise"), make_span(6, 5)]
    tree = Tree(make_span(2, 1, name="noise"), children)

    assert transaction_event(tree, translate) is None
    events = [whole(transaction_event(it, translate)) for it in below_noise(tree, translate)]

    assert [(event["transaction"], len(event["spans"])) for event in events] == [
        ("span 3", 1),
        ("span 6", 0),
    ]
    assert {event["contexts"]["trace"]["parent_span_id"] for event in events} == {f"{1:016x}"}


def test_nothing_is_below_a_request_of_our_own():
    """A request that sends transactions makes none of what happens in it."""
    request = {"http.request.method": "POST", "url.full": "https://sentry.invalid/"}
    root = make_span(2, 1, name="noise", kind=SpanKind.CLIENT, attributes=request)

    assert below_noise(Tree(root, [make_span(3, 2)]), Translator(Scrubber(), is_noise)) == []


def query(number, parent=1, *, characters=300, **attributes):
    """Return a query with a statement of so many characters."""
    statement = "SELECT " + "a" * (characters - 14) + " FROM t"
    attributes = {"db.system": "postgresql", "db.statement": statement, **attributes}
    return make_span(number, parent, name="q", kind=SpanKind.CLIENT, attributes=attributes)


def test_many_statements_are_said_once_each():
    """Where all spans are more than Sentry takes, no statement is in the description and again."""
    few = make_event(children=[query(2)])
    many = transaction_event(
        Tree(make_span(), [query(2 + n) for n in range(999)]), Translator(Scrubber())
    )

    assert few["spans"][0]["data"]["db.statement"] == few["spans"][0]["description"]
    assert many.lost == {}
    assert len(many.spans) == 999
    (said,) = {span["description"] for span in many.span_dictionaries()}
    assert len(said) == 300
    assert {"db.statement", "db.query.text"}.isdisjoint(many.span_dictionaries()[0]["data"])
    assert len(json.dumps(whole(many))) < 1024 * 1024


def test_large_spans_are_cut_and_the_late_ones_dropped():
    """No transaction is larger than Sentry takes; what does not fit is counted."""
    attributes = {f"a{n}": "x" * 8000 for n in range(10)}
    children = [
        make_span(2 + n, 1, start_time=START + n, attributes=attributes) for n in range(900)
    ]

    transaction = transaction_event(Tree(make_span(), children), Translator(Scrubber()))

    sent = transaction.span_dictionaries()
    assert [span["span_id"] for span in sent] == [f"{2 + n:016x}" for n in range(len(sent))]
    assert len(sent) > 250
    assert transaction.lost == {"buffer_overflow": 900 - len(sent)}
    assert len(json.dumps(whole(transaction))) < 1024 * 1024


def test_one_enormous_span_takes_no_other_along():
    """A span that is more than Sentry takes is dropped; what is below it belongs to its parent."""
    attributes = {f"a{n}": ["x" * 256] * 128 for n in range(100)}
    enormous = make_span(2, 1, attributes=attributes)
    token = make_span(4, 1, attributes={"password": "x"})

    tree = Tree(make_span(), [enormous, make_span(3, 2), token])
    transaction = transaction_event(tree, Translator(Scrubber()))

    assert parents(transaction) == {3: 1, 4: 1}
    assert transaction.lost == {"buffer_overflow": 1}
    assert list(transaction.event["_meta"]["spans"]) == ["1"]


def exception_event(**attributes):
    """Return the event that `record_exception` adds."""
    said = {
        "exception.type": "shop.OutOfStock",
        "exception.message": "none of 7; token=Zq9xSekrit7Wv",
        "exception.stacktrace": "Traceback",
        "exception.escaped": "False",
    }
    return Event("exception", {**said, **attributes}, START)


def test_a_handled_exception_is_a_breadcrumb():
    """An exception that was recorded, and that the status does not tell, is a breadcrumb."""
    child = make_span(2, 1, events=[exception_event(order=7)])

    (crumb,) = make_event(children=[child])["breadcrumbs"]["values"]

    assert crumb == {
        "type": "error",
        "category": "exception",
        "level": "error",
        "message": "shop.OutOfStock: none of 7; token=[Filtered]",
        "timestamp": START / SECOND,
        "data": {"order": 7},
    }


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (Status(StatusCode.ERROR, "OutOfStock: none of 7; token=Zq9xSekrit7Wv"), False),
        (Status(StatusCode.ERROR, "none of 7"), True),
        (Status(StatusCode.ERROR), True),
        (Status(StatusCode.OK), True),
    ],
)
def test_an_exception_that_left_its_span_is_in_the_status(status, told):
    """What OpenTelemetry writes into the status of the span it failed is not said again."""
    event = make_event(events=[exception_event()], status=status)

    assert ("breadcrumbs" in event) == told


ATTRIBUTE_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=30)
    | st.binary(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(
    st.text(st.characters(), max_size=300),
    st.dictionaries(st.text(st.characters(), max_size=20), ATTRIBUTE_VALUES, max_size=8),
    st.integers(-(2**63), 2**63),
    st.sampled_from(SpanKind),
)
def test_any_span_becomes_an_event_that_relay_takes(name, attributes, end, kind):
    """Whatever is in a span, the event is JSON that Sentry's own normalisation accepts."""
    span = make_span(
        name=name, attributes=attributes, kind=kind, end_time=START + abs(end) % 10**18
    )

    event = make_event(span, [make_span(2, 1, attributes=attributes)])

    text = json.dumps({**event, "event_id": "1" * 32}, allow_nan=False)
    json.dumps(json.loads(text), ensure_ascii=False).encode()  # no lone surrogates
    normalized = StoreNormalizer(project_id=1).normalize_event(json.loads(text))
    assert len(normalized["spans"]) == 1


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000_000, b"\xff" * 10_000_000, ["x" * 9000] * 1000, {"a": {"b": "x" * 10**6}}],
    ids=["text", "bytes", "list", "mapping"],
)
def test_huge_values_are_cut(value):
    """No value makes an event that Sentry would refuse for its size."""
    event = make_event(attributes={"huge": value})

    assert len(json.dumps(event)) < 1024 * 1024


def test_cyclic_values_end():
    """A value that contains itself is cut."""
    cyclic: dict = {}
    cyclic["self"] = cyclic

    json.dumps(make_event(attributes={"cyclic": cyclic}))


@pytest.mark.parametrize("values", [(1, True, 1.0), ((1,), (True,), (1.0,))])
def test_values_that_are_equal_and_not_the_same(values):
    """A translation that is remembered is not used for a span that says 1 and not true."""
    translate = Translator(Scrubber())
    root = make_span(kind=SpanKind.SERVER)
    children = [make_span(2 + n, 1, attributes={"n": value}) for n, value in enumerate(values)]

    event = whole(transaction_event(Tree(root, children), translate))

    said = [span["data"]["n"] for span in event["spans"]]
    assert json.dumps(said) == json.dumps(values)


def test_versions_of_one_library():
    """A translation that is remembered is not used for another version of the same scope."""
    children = [
        make_span(2 + n, 1, instrumentation_scope=InstrumentationScope("shop", version))
        for n, version in enumerate(["1", "2", None])
    ]

    event = make_event(children=children)

    versions = [span["data"].get("otel.scope.version") for span in event["spans"]]
    assert versions == ["1", "2", None]


def test_a_secret_at_the_cut_of_a_long_value():
    """A long value is scrubbed before it is cut: half a secret is one, too."""
    secret = "4111 1111 1111 1111"
    text = "x" * (8192 - 12) + f" {secret} " + "y" * 9000

    event = make_event(attributes={"note": text, "list": [text]})

    data = event["contexts"]["trace"]["data"]
    for value in (data["note"], data["list"][0]):
        assert "4111" not in value
        assert len(value) == 8192


def test_a_secret_at_the_cut_of_what_is_read():
    """Of a value longer than what is read, half a secret at the end goes, however it shrinks."""
    text = "token=" + "a" * 64_000 + " "
    text += "y" * (65_500 - len(text)) + " postgres://shop:Zq9xSekrit7Wv0123456789@db/shop"

    data = make_event(attributes={"note": text})["contexts"]["trace"]["data"]

    assert data["note"].startswith("token=[Filtered] yyy")
    assert "Zq9x" not in data["note"]


def test_a_secret_at_the_cut_of_a_name():
    """A long name is scrubbed before it is cut, whatever it is made of."""
    name = "y" * 150 + " postgres://application:Zq9xSekrit7Wv-0123456789abcdef@db/shop"

    for fields in ({"name": name}, {"attributes": {"sentry.name": name}}):
        event = make_event(**fields)
        assert event["transaction"].startswith("y" * 150 + " postgres://[Filtered]@db/shop")
        assert "Zq9x" not in json.dumps(event)
    assert make_event(name="y" * 200)["transaction"] == "y" * 200
    assert make_event(name="y" * 201)["transaction"] == "y" * 197 + "..."


def test_a_token_in_the_path_goes_from_breadcrumbs():
    """What the root's route calls a token goes from the events of all spans."""
    secret = "Zq9xSekrit7Wv"
    root = make_span(
        kind=SpanKind.SERVER,
        attributes={"http.route": "/reset/{token}", "url.path": f"/reset/{secret}"},
        events=[Event(f"mailed {secret}", {"to": f"user of {secret}"}, START)],
    )
    child = make_span(2, 1, events=[Event("sent", {"id": secret, "page": "1"}, START)])

    transaction = transaction_event(Tree(root, [child]), Translator(Scrubber()))

    crumbs = whole(transaction)["breadcrumbs"]["values"]
    assert crumbs[0]["message"] == "mailed [Filtered]"
    assert crumbs[1]["data"] == {"id": "[Filtered]", "page": "1"}
    assert secret not in json.dumps(whole(transaction))
    assert transaction.secrets == {secret}


def test_a_callback_that_comes_late():
    """What was translated before `init(scrub=...)` is translated anew."""
    options = Options()
    translate = Translator(Scrubber(options=options))
    tree = Tree(make_span(kind=SpanKind.SERVER), [make_span(2, 1, attributes={"note": "mine"})])

    before = whole(transaction_event(tree, translate))
    options.scrub = lambda _path, value, _rule: "gone" if value == "mine" else value
    after = whole(transaction_event(tree, translate))

    assert before["spans"][0]["data"]["note"] == "mine"
    assert after["spans"][0]["data"]["note"] == "gone"


def test_what_was_removed_from_the_root_is_said_beside_it():
    """`_meta` names the rules for all that the root says; its description is in no event."""
    secret = "token=Zq9xSekrit7Wv"
    link = Link(SpanContext(2, 3, is_remote=True), {"password": "x"})
    root = make_span(
        name=secret,
        attributes={"password": "x"},
        links=[link],
        resource=Resource({"api_key": "x", "service.name": "shop"}),
    )
    event = transaction_event(Tree(root, []), Translator(Scrubber())).event

    remark = {"": {"rem": [["sensitive_key", "s"]]}}
    assert event["_meta"] == {
        "transaction": remark,
        "contexts": {
            "trace": {
                "data": {"password": remark},
                "links": {"0": {"attributes": {"password": remark}}},
            },
            "otel": {"resource": {"api_key": remark}},
        },
    }
    assert event["_meta"] == remarks({key: event[key] for key in ("transaction", "contexts")})
