from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_sentry.cli.tail.receiver import Item
from otel_sentry.cli.tail.trace import Error, Node, assemble, build_traces, error_of, nodes_of

TRACE = "a" * 32


def transaction(span_id, parent="", name="GET /", spans=(), **fields):
    trace = {"trace_id": TRACE, "span_id": span_id, "parent_span_id": parent, "op": "http.server"}
    return Item(
        "transaction",
        {
            "transaction": name,
            "contexts": {"trace": trace},
            "start_timestamp": 100.0,
            "timestamp": 100.5,
            "spans": list(spans),
            **fields,
        },
    )


def span(span_id, parent, start=100.1, op="db"):
    return {
        "span_id": span_id,
        "parent_span_id": parent,
        "op": op,
        "description": "SELECT 1",
        "start_timestamp": start,
        "timestamp": start + 0.1,
        "status": "ok",
    }


def error(span_id, **fields):
    trace = {"trace_id": TRACE, "span_id": span_id}
    raised = {"values": [{"type": "KeyError"}, {"type": "ValueError", "value": "bad"}]}
    return Item("error", {"contexts": {"trace": trace}, "exception": raised, **fields})


def outline(nodes):
    """Reduce a forest to nested (span id, errors, children)."""
    return [
        (node.span_id, [error.type for error in node.errors], outline(node.children))
        for node in nodes
    ]


def test_joins_processes_and_errors_by_ids():
    """The web's and the worker's transactions, OTLP spans and errors are one tree."""
    otlp = {"trace_id": TRACE, "span_id": "o1", "parent_span_id": "w1", "name": "charge"}
    streamed = {"trace_id": TRACE, "span_id": "s1", "parent_span_id": "o1", "name": "render"}
    items = [
        error("w1"),
        Item("span", streamed),
        transaction("w1", parent="p1", name="task"),
        Item("otlp_span", otlp),
        transaction("r1", spans=[span("p1", "r1", 100.3, "queue.publish"), span("d1", "r1")]),
        error("d1"),
        Item("session", {"sid": TRACE}),
    ]
    (trace,) = build_traces(items)
    assert (trace.span_count, trace.error_count, trace.errors) == (6, 2, [])
    worker = ("w1", ["ValueError"], [("o1", [], [("s1", [], [])])])
    web = ("r1", [], [("d1", ["ValueError"], []), ("p1", [], [worker])])
    assert outline(trace.roots) == [web]


def test_keeps_traces_apart():
    """Items of several traces give several traces, in the order they appeared."""
    other = Item("otlp_span", {"trace_id": "b" * 32, "span_id": "x", "name": "x"})
    assert [trace.trace_id for trace in build_traces([other, transaction("r")])] == [
        "b" * 32,
        TRACE,
    ]


def test_a_span_without_its_parent_is_a_root():
    """Nothing that arrived is hidden because something else did not."""
    (trace,) = build_traces([transaction("w", parent="missing"), error("missing")])
    assert outline(trace.roots) == [("w", [], [])]
    assert trace.errors == [Error(TRACE, "missing", "ValueError", "bad")]


def test_a_span_that_arrived_twice_counts_once():
    """The transaction of a span that also came over OTLP, in either order, is kept."""
    otlp = Item("otlp_span", {"trace_id": TRACE, "span_id": "r", "parent_span_id": "x"})
    for items in ([otlp, transaction("r")], [transaction("r"), otlp]):
        (trace,) = build_traces(items)
        assert (trace.span_count, trace.roots[0].transaction) == (1, "GET /")


def test_cuts_circles():
    """Spans that call each other their parent are shown once each."""
    spans = [span("a", "b"), span("b", "a", 100.2), span("c", "c"), span("d", "b")]
    (trace,) = build_traces([transaction("r", spans=spans)])
    assert outline(trace.roots) == [
        ("r", [], []),
        ("a", [], [("b", [], [("d", [], [])])]),
        ("c", [], []),
    ]


def test_reads_a_transaction():
    """A transaction is a segment: its name, service, status and times are those of its root."""
    resource = {"otel": {"resource": {"service.name": "web"}}}
    item = transaction("r", start_timestamp="2026-01-01T00:00:00.250000Z", server_name="host")
    item.fields["timestamp"] = "2026-01-01T00:00:01Z"
    item.fields["contexts"]["trace"]["status"] = "internal_error"
    item.fields["contexts"] |= resource
    assert nodes_of(item) == [
        Node(
            trace_id=TRACE,
            span_id="r",
            parent_span_id="",
            op="http.server",
            description="GET /",
            start=1767225600.25,
            duration=0.75,
            status="internal_error",
            is_segment=True,
            transaction="GET /",
            service="web",
        )
    ]
    assert nodes_of(transaction("r", server_name="host"))[0].service == "host"


def test_reads_a_streamed_span():
    """Sentry's streamed spans carry their attributes as value and type."""
    item = Item(
        "span",
        {
            "trace_id": TRACE,
            "span_id": "s",
            "name": "GET /",
            "is_segment": True,
            "start_timestamp": 1.0,
            "end_timestamp": 1.5,
            "status": "ok",
            "attributes": {
                "sentry.op": {"value": "http.server", "type": "string"},
                "service.name": {"value": "web", "type": "string"},
            },
        },
    )
    (node,) = nodes_of(item)
    assert (node.op, node.description, node.service) == ("http.server", "GET /", "web")
    assert (node.start, node.duration, node.is_segment) == (1.0, 0.5, True)


@pytest.mark.parametrize(
    ("fields", "op", "is_segment"),
    [
        ({"kind": "SERVER", "parent_span_id": "x"}, "server", True),
        ({"kind": "CLIENT", "parent_span_id": "x"}, "client", False),
        ({"kind": "INTERNAL", "parent_span_id": "x"}, "", False),
        ({"kind": "INTERNAL", "parent_span_id": "x", "flags": 0x301}, "", True),
        ({"kind": "INTERNAL", "parent_span_id": None}, "", True),
        ({"kind": "CLIENT", "parent_span_id": "x", "attributes": {"sentry.op": "db"}}, "db", False),
    ],
)
def test_reads_an_otlp_span(fields, op, is_segment):
    """A span of OpenTelemetry gets an op from its kind, unless `sentry.op` says a better one."""
    item = Item(
        "otlp_span",
        {
            "trace_id": TRACE,
            "span_id": "s",
            "name": "work",
            "start_time_unix_nano": 1_000_000_000,
            "end_time_unix_nano": 1_500_000_000,
            "status": {"code": "ERROR"},
            "resource": {"service.name": "web"},
            **fields,
        },
    )
    (node,) = nodes_of(item)
    assert (node.op, node.is_segment, node.status) == (op, is_segment, "error")
    assert (node.start, node.duration) == (1.0, 0.5)
    assert node.service == ("web" if is_segment else "")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exception": {"values": [{"type": "A", "value": "b"}]}}, ("A", "b", "error")),
        ({"logentry": {"formatted": "f", "message": "m"}}, ("", "f", "error")),
        ({"logentry": {"message": "m"}, "level": "warning"}, ("", "m", "warning")),
        ({"message": "m", "level": "info"}, ("", "m", "info")),
        ({}, ("", "", "error")),
    ],
)
def test_reads_an_error(fields, expected):
    """An event says what was raised last, or its message."""
    found = error_of(Item("error", fields))
    assert (found.type, found.value, found.level) == expected


def test_shortens_what_it_keeps():
    """A statement of megabytes is not kept for as long as its trace."""
    item = transaction("r", spans=[span("s", "r") | {"description": "x" * 1_000_000}])
    assert len(nodes_of(item)[1].description) == 300


@pytest.mark.parametrize(
    ("value", "start"),
    [
        (5, 5.0),
        ("1970-01-01T00:00:05", 5.0),
        ("1970-01-01T01:00:05.500+01:00", 5.5),
        ("yesterday", 0.0),
        ("0001-01-01T00:00:00+23:00", 0.0),
        (float("nan"), 0.0),
        (10**400, 0.0),
        (-(10**400), 0.0),
        (None, 0.0),
        ([], 0.0),
    ],
)
def test_reads_every_kind_of_timestamp(value, start):
    """Numbers and ISO 8601 are read; what is neither is 0, as is what no clock can show."""
    assert nodes_of(transaction("r", start_timestamp=value))[0].start == start
    times = {"start_time_unix_nano": value, "trace_id": TRACE, "span_id": "s"}
    assert nodes_of(Item("otlp_span", times))[0].start in {0.0, 5e-9}


KEYS = [
    "attributes",
    "contexts",
    "end_timestamp",
    "exception",
    "flags",
    "level",
    "logentry",
    "parent_span_id",
    "resource",
    "span_id",
    "spans",
    "start_time_unix_nano",
    "start_timestamp",
    "status",
    "timestamp",
    "trace",
    "trace_id",
    "type",
    "values",
]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(
    data=st.dictionaries(st.sampled_from(["contexts", "spans", "exception", "flags"]), VALUES),
    kind=st.sampled_from(["transaction", "span", "otlp_span", "error"]),
    times=st.tuples(VALUES, VALUES),
)
def test_trusts_no_type(data, kind, times):
    """Whatever an item holds, its nodes have ids and finite times."""
    data = {"trace_id": TRACE, "span_id": "s", **data}
    data |= {"start_timestamp": times[0], "timestamp": times[1], "end_timestamp": times[1]}
    data |= {"start_time_unix_nano": times[0], "end_time_unix_nano": times[1]}
    for trace in build_traces([Item(kind, data)]):
        assert 0 <= trace.start < 1e11
        assert 0 <= trace.duration < 1e11


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_shows_every_span_exactly_once(pairs):
    """However parents are chained, each span has one place in the forest."""
    nodes = [Node(TRACE, f"{a}", f"{b}", "", "", 1.0, 0.0) for a, b in pairs]
    trace = assemble(TRACE, nodes, [])
    seen, pending = [], list(trace.roots)
    while pending:
        node = pending.pop()
        seen.append(node.span_id)
        pending += node.children
    assert sorted(seen) == sorted({node.span_id for node in nodes})
    assert trace.span_count == len(seen)
