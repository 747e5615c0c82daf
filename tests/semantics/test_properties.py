from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_sentry.semantics import extra_data, infer, sentry_status
from otel_sentry.semantics.noise import is_noise, is_request_to
from tests.semantics.tables import ROWS

# Every key that some convention reads, and what else an application may set it to.
_KEYS = [
    *sorted({key for row in ROWS for one in (row.old, row.new or {}) for key in one}),
    "asgi.event.type",
    "error.type",
    "http.host",
    "http.response.status_code",
    "http.status_code",
    "messaging.message.receive.latency",
    "net.peer.name",
    "net.peer.port",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "url.fragment",
]
_WORDS = sorted(
    {str(value) for row in ROWS for one in (row.old, row.new or {}) for value in one.values()}
)
_TEXTS = st.one_of(
    st.text(),
    st.sampled_from(_WORDS),
    st.text(alphabet="/:@?#[]% a7.\n"),
    st.text(min_size=1).map(lambda text: text * 500),
)
_SCALARS = st.one_of(
    _TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**5000),
    st.floats(),
    st.binary(),
    st.sampled_from(["9" * 5000, "٣", "-1"]),
)
_VALUES = st.one_of(
    _SCALARS,
    st.lists(_SCALARS, max_size=3),
    st.lists(_SCALARS, max_size=3).map(tuple),
    st.dictionaries(st.text(), _SCALARS, max_size=2),
)
_ATTRIBUTES = st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=8)
_KINDS = st.sampled_from(SpanKind)


@settings(max_examples=300, deadline=None)
@given(name=_TEXTS, kind=_KINDS, attributes=_ATTRIBUTES)
def test_every_span_has_a_meaning_that_sentry_takes(name, kind, attributes):
    """Whatever is in the attributes, op, name and source are texts within Sentry's limits."""
    meaning = infer(name, kind, attributes)
    assert all(isinstance(field, str) and field for field in meaning[:4])
    assert len(meaning.name) <= 200
    assert len(meaning.op) <= 128
    assert meaning.source in {"component", "custom", "route", "task", "url", "view"}
    assert all(isinstance(alias, str) and alias for alias in meaning.aliases)


@settings(max_examples=300, deadline=None)
@given(
    kind=_KINDS,
    attributes=_ATTRIBUTES,
    code=st.sampled_from(StatusCode),
    description=st.none() | _TEXTS,
)
def test_data_and_status_can_be_written_whatever_the_attributes_are(
    kind, attributes, code, description
):
    """Nothing raises, and what comes out is JSON without NaN."""
    description = description if code is StatusCode.ERROR else None
    assert sentry_status(Status(code, description), attributes)
    data = extra_data(kind, attributes)
    assert json.loads(json.dumps(data, allow_nan=False)) == data


@settings(max_examples=100, deadline=None)
@given(name=_TEXTS, attributes=_ATTRIBUTES)
def test_noise_is_told_whatever_the_attributes_are(name, attributes):
    """The filter stands before every backend: it must not raise."""
    assert is_noise(name, attributes, "opentelemetry.instrumentation.sqlalchemy") in {True, False}
    assert is_request_to(attributes, ("http://h/",)) in {True, False}


@settings(deadline=None)
@given(name=_TEXTS, kind=_KINDS, attributes=_ATTRIBUTES, explicit=st.text(min_size=1, max_size=50))
def test_what_the_application_says_wins_over_everything(name, kind, attributes, explicit):
    """An explicit op, name, description and source are taken as they are."""
    attributes |= {
        "sentry.op": explicit,
        "sentry.name": explicit,
        "sentry.description": explicit,
        "sentry.source": "view",
    }
    assert infer(name, kind, attributes)[:4] == (explicit, explicit, explicit, "view")
