"""Any bytes in any header: nothing raises, nothing malformed goes in or out."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.instrumentation.asgi import asgi_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, get_current_span, set_span_in_context

from otel_sentry.propagation import SentryPropagator
from otel_sentry.sampling import SentrySampler, parse_rules
from otel_sentry.settings import Settings

A, SPAN = "a" * 31 + "1", "1234567890abcdef"
NAMES = ["sentry-trace", "traceparent", "tracestate", "baggage"]
PROPAGATOR = SentryPropagator(Settings.from_env({"SENTRY_DSN": "https://key@o17.sentry.io/42"}))
TRACER = TracerProvider(
    sampler=SentrySampler(0.5, parse_rules("GET /a=0.25")), shutdown_on_exit=False
).get_tracer("t")


# A strict parser, written from the grammars of the specifications and nothing else.

_KEY = r"[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_TRACESTATE_MEMBER = re.compile(rf"({_KEY})=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_BAGGAGE_MEMBER = re.compile(rf"{_TOKEN}=[!#-+\--:<-\[\]-~]*")


def parse_traceparent(header):
    match = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", header)
    assert match, header
    assert set(match[1]) != {"0"}
    assert set(match[2]) != {"0"}
    return match[1], match[2], int(match[3], 16)


def parse_tracestate(header):
    members = header.split(",")
    assert len(members) <= 32
    assert len(header) <= 512
    keys = []
    for member in members:
        match = _TRACESTATE_MEMBER.fullmatch(member)
        assert match, member
        keys.append(match[1])
    assert len(set(keys)) == len(keys)
    return keys


def parse_baggage(header):
    members = header.split(",")
    assert len(members) <= 64
    assert len(header.encode("ascii")) <= 8192
    for member in members:
        assert _BAGGAGE_MEMBER.fullmatch(member), member
    return [tuple(member.split("=", 1)) for member in members]


def parse_sentry_trace(header):
    match = re.fullmatch(r"([0-9a-f]{32})-([0-9a-f]{16})(-[01])?", header)
    assert match, header
    return match[1], match[2], match[3]


PIECES = f"{A} {A.upper()} {SPAN} {'0' * 32} {'0' * 16} 00 01 ff - -1 -0 -00- , ; = % ot th:8 rv:"
PIECES += " sentry- sentry-trace_id= sentry-sample_rand=0.1 sentry-sample_rate=nan sentry-org_id=18"
pieces = st.lists(
    st.sampled_from([one.encode() for one in [*PIECES.split(), " ", "\t", "\n", "\r\n", "\0"]])
    | st.binary(max_size=4),
    max_size=9,
).map(b"".join)
near_misses = st.sampled_from(
    [
        f"{A}-{SPAN}-1",
        f"{A}-{SPAN}",
        f"00-{A}-{SPAN}-01",
        f"ot=th:8;rv:{'f' * 14},vendor=1",
        f"sentry-trace_id={A},sentry-sample_rand=0.5,a=b;p=1",
    ]
).flatmap(
    lambda text: st.tuples(st.integers(0, len(text)), st.binary(max_size=2)).map(
        lambda cut: text[: cut[0]].encode() + cut[1] + text[cut[0] :].encode()
    )
)
# The ASGI getter decodes what is not UTF-8 as if it were source code of Python.
pytestmark = pytest.mark.filterwarnings("ignore:.*escape sequence:DeprecationWarning")

headers = st.lists(
    st.tuples(st.sampled_from(NAMES), pieces | near_misses | st.binary(max_size=60)), max_size=8
)


@settings(max_examples=600)
@given(headers)
@example([("sentry-trace", f"{A}-{SPAN}-1".encode()), ("baggage", b"a=\xff\xfe,\x00=1")])
@example([("traceparent", f"00-{A}-{SPAN}-01".encode()), ("tracestate", b"a=" + b"x" * 600)])
def test_any_bytes(lines):
    """Whatever arrives, what leaves is well-formed, says one thing, and no trace is made up."""
    scope = {"headers": [(name.encode(), value) for name, value in lines]}
    context = PROPAGATOR.extract(scope, Context(), asgi_getter)
    remote = get_current_span(context).get_span_context()
    everything = b" ".join(value for _, value in lines).decode("latin-1")
    if remote.is_valid:
        assert f"{remote.trace_id:032x}" in everything
        assert f"{remote.span_id:016x}" in everything
    span = TRACER.start_span("GET", context, SpanKind.SERVER, {"http.target": "/a"})
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier, set_span_in_context(span, context))
    trace, parent, flags = parse_traceparent(carrier["traceparent"])
    assert parse_sentry_trace(carrier["sentry-trace"]) == (trace, parent, f"-{flags & 1}")
    if "tracestate" in carrier:
        parse_tracestate(carrier["tracestate"])
    if "baggage" in carrier:
        ours = [
            value for key, value in parse_baggage(carrier["baggage"]) if key == "sentry-trace_id"
        ]
        assert ours in ([], [trace])


@pytest.mark.parametrize("name", NAMES)
def test_bytes_that_the_getter_cannot_read(name):
    """The ASGI getter raises for such bytes; the request goes on, with the other headers."""
    good = {"sentry-trace": f"{A}-{SPAN}-1", "traceparent": f"00-{A}-{SPAN}-01"}
    good.pop(name, None)
    scope = {"headers": [(name.encode(), b"\\x\xff")]}
    scope["headers"] += [(key.encode(), value.encode()) for key, value in good.items()]
    with pytest.raises(UnicodeDecodeError):
        asgi_getter.get(scope, name)
    context = PROPAGATOR.extract(scope, Context(), asgi_getter)
    assert f"{get_current_span(context).get_span_context().trace_id:032x}" == A


@pytest.mark.parametrize("value", [7, [7, None], None, b"x", object()])
def test_values_that_are_no_text(value):
    """Whatever a carrier holds that is no text is not there."""
    carrier = dict.fromkeys(NAMES, value)
    assert PROPAGATOR.extract(carrier, Context()) == Context()


@settings(max_examples=300)
@given(
    st.sampled_from(NAMES[:2]),
    st.one_of(
        near_misses.filter(lambda it: not re.search(rb"^[ \t]*(00-)?a{31}1-1234567890abcdef", it)),
        st.binary(max_size=80),
    ),
)
def test_no_malformed_trace_is_continued(name, value):
    """A header that is not, as a whole, a trace's, starts nothing."""
    scope = {"headers": [(name.encode(), value)]}
    context = PROPAGATOR.extract(scope, Context(), asgi_getter)
    assert not get_current_span(context).get_span_context().is_valid


@pytest.mark.parametrize(
    "header", ["00-" + "A" * 32 + f"-{SPAN}-01", "00-" + "0" * 32 + f"-{SPAN}-01", "x", ""]
)
def test_the_parser_is_strict(header):
    """The parser that the properties rest on refuses what is malformed."""
    with pytest.raises(AssertionError):
        parse_traceparent(header)
    for parse, bad in (
        (parse_tracestate, "A=1"),
        (parse_tracestate, "a=1,a=2"),
        (parse_tracestate, "a=1 "),
        (parse_baggage, "a b=1"),
        (parse_baggage, 'a="'),
        (parse_baggage, "a"),
        (parse_sentry_trace, f"{A}-{SPAN}-2"),
    ):
        with pytest.raises(AssertionError):
            parse(bad)
