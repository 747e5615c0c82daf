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
from otel_sentry.scrubbing import Scrubber
from otel_sentry.transactions.event import transaction_event
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
    """Events of all spans are breadcrumbs, in order of time; exceptions arrive as errors."""
    child = make_span(2, 1, events=[Event("second", {"n": 2}, START + 2000)])
    root = make_span(events=[Event("third", {}, START + 3000), Event("first", {}, START + 1000)])
    exception = make_span(3, 1, events=[Event("exception", {"exception.type": "X"}, START)])

    crumbs = make_event(root, [child, exception])["breadcrumbs"]["values"]

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

    assert len(json.dumps(event)) < 1_200_000


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


def test_a_secret_at_the_cut_of_a_long_value():
    """A long value is scrubbed before it is cut: half a secret is one, too."""
    secret = "4111 1111 1111 1111"
    text = "x" * (8192 - 12) + f" {secret} " + "y" * 9000

    event = make_event(attributes={"note": text, "list": [text]})

    data = event["contexts"]["trace"]["data"]
    for value in (data["note"], data["list"][0]):
        assert "4111" not in value
        assert len(value) == 8192


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
