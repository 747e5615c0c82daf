from __future__ import annotations

import re
from types import SimpleNamespace
from urllib.parse import unquote

import httpx
import pytest
import sentry_sdk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.instrumentation.asgi import asgi_getter
from opentelemetry.instrumentation.celery import celery_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from requests.structures import CaseInsensitiveDict

from otel_sentry.propagation import SentryPropagator
from otel_sentry.sampling import SentrySampler
from otel_sentry.settings import Settings
from otel_sentry.trace_state import SentryTraceState

A, B = "a" * 31 + "1", "b" * 31 + "2"
SPAN, OTHER = "1234567890abcdef", "fedcba0987654321"
SETTINGS = Settings.from_env(
    {
        "SENTRY_DSN": "https://key@o17.ingest.sentry.io/42",
        "SENTRY_RELEASE": "shop@1.2.3",
        "SENTRY_ENVIRONMENT": "test env",
    }
)
IDENTITY = {
    "public_key": "key",
    "org_id": "17",
    "release": "shop@1.2.3",
    "environment": "test env",
}
DSC = f"sentry-trace_id={A},sentry-public_key=k,sentry-sample_rand=0.25,sentry-release=a%20b"
FROZEN = {"trace_id": A, "public_key": "k", "sample_rand": "0.25", "release": "a b"}


@pytest.fixture
def propagator() -> SentryPropagator:
    return SentryPropagator(SETTINGS)


def extract(propagator, carrier) -> tuple[Context, SpanContext]:
    context = propagator.extract(carrier, Context())
    return context, get_current_span(context).get_span_context()


def inject(propagator, context) -> dict[str, str]:
    carrier: dict[str, str] = {}
    propagator.inject(carrier, context)
    assert set(carrier) <= propagator.fields
    return carrier


def entries(header: str) -> dict[str, str]:
    pairs = (member.partition("=") for member in header.split(",") if member)
    return {key: unquote(value) for key, _, value in pairs}


# --- the two trace headers ---------------------------------------------------------------------

NOTHING = None


@pytest.mark.parametrize(
    ("sentry_trace", "traceparent", "expected"),
    [
        # Expected: trace, parent span, decision; nothing: a new trace starts here.
        (f"{A}-{SPAN}-1", None, (A, SPAN, True)),
        (f"{A}-{SPAN}-0", None, (A, SPAN, False)),
        (f"{A}-{SPAN}", None, (A, SPAN, None)),
        (f" {A}-{SPAN}-1\t", None, (A, SPAN, True)),
        (None, f"00-{A}-{SPAN}-01", (A, SPAN, True)),
        (None, f"00-{A}-{SPAN}-00", (A, SPAN, False)),
        (None, f"00-{A}-{SPAN}-03", (A, SPAN, True)),
        (None, f"00-{A}-{SPAN}-02", (A, SPAN, False)),
        (None, f"00-{A}-{SPAN}-ff", (A, SPAN, True)),
        (None, f" 00-{A}-{SPAN}-01 \t", (A, SPAN, True)),
        (None, f"01-{A}-{SPAN}-01", (A, SPAN, True)),
        (None, f"cc-{A}-{SPAN}-01-what-comes", (A, SPAN, True)),
        # both, of the same trace: the flag of sentry-trace decides
        (f"{A}-{SPAN}-1", f"00-{A}-{SPAN}-00", (A, SPAN, True)),
        (f"{A}-{SPAN}-0", f"00-{A}-{SPAN}-01", (A, SPAN, False)),
        (f"{A}-{SPAN}", f"00-{A}-{SPAN}-00", (A, SPAN, None)),
        (f"{A}-{SPAN}", f"00-{A}-{SPAN}-01", (A, SPAN, None)),
        # both, of different traces: sentry-trace wins
        (f"{A}-{SPAN}-1", f"00-{B}-{OTHER}-00", (A, SPAN, True)),
        (f"{A}-{SPAN}", f"00-{B}-{OTHER}-01", (A, SPAN, None)),
        # one of them malformed: the other one counts
        ("nonsense", f"00-{B}-{OTHER}-01", (B, OTHER, True)),
        (f"{'0' * 32}-{SPAN}-1", f"00-{B}-{OTHER}-00", (B, OTHER, False)),
        (f"{A}-{SPAN}-1", "nonsense", (A, SPAN, True)),
        # malformed
        (f"{A.upper()}-{SPAN}-1", None, NOTHING),
        (f"{'0' * 32}-{SPAN}-1", None, NOTHING),
        (f"{A}-{'0' * 16}-1", None, NOTHING),
        (f"{A}-{SPAN}-2", None, NOTHING),
        (f"{A}-{SPAN}-", None, NOTHING),
        (f"{A}-{SPAN}-1-x", None, NOTHING),
        (f"{A}-{SPAN}-1\n", None, NOTHING),
        (f"{A[1:]}-{SPAN}-1", None, NOTHING),
        (f"{A}{SPAN}", None, NOTHING),
        ("", "", NOTHING),
        (None, f"ff-{A}-{SPAN}-01", NOTHING),
        (None, f"00-{A}-{SPAN}-01-extra", NOTHING),
        (None, f"00-{A}-{SPAN}-01-", NOTHING),
        (None, f"cc-{A}-{SPAN}-01x", NOTHING),
        (None, f"00-{A}-{SPAN}", NOTHING),
        (None, f"00-{A.upper()}-{SPAN}-01", NOTHING),
        (None, f"00-{'0' * 32}-{SPAN}-01", NOTHING),
        (None, f"00-{A}-{'0' * 16}-01", NOTHING),
        (None, f"0-{A}-{SPAN}-01", NOTHING),
        (None, f"00-{A}-{SPAN}-0g", NOTHING),
        (None, f"00-{A}-{SPAN}-01\n", NOTHING),
    ],
)
def test_trace_headers(propagator, sentry_trace, traceparent, expected):
    """`sentry-trace` and `traceparent` are read together; a malformed one counts as absent."""
    carrier = {"sentry-trace": sentry_trace, "traceparent": traceparent}
    context, span = extract(propagator, {key: it for key, it in carrier.items() if it is not None})
    if expected is NOTHING:
        assert not span.is_valid
        assert context == Context()
        return
    trace, parent, sampled = expected
    assert (f"{span.trace_id:032x}", f"{span.span_id:016x}") == (trace, parent)
    assert span.is_remote
    assert span.trace_flags.sampled is bool(sampled)
    assert span.trace_state.sampled is sampled


@pytest.mark.parametrize(
    ("flags", "sentry_trace", "random_flag"),
    [
        ("02", None, True),
        ("01", None, False),
        ("03", f"{A}-{SPAN}-0", True),
        ("03", f"{B}-{SPAN}-0", False),
    ],
)
def test_the_random_flag(propagator, flags, sentry_trace, random_flag):
    """That a trace id is random is passed on, from the `traceparent` of this very trace."""
    carrier = {"traceparent": f"00-{A}-{SPAN}-{flags}"}
    if sentry_trace:
        carrier["sentry-trace"] = sentry_trace
    context, span = extract(propagator, carrier)
    assert span.trace_flags.random_trace_id is random_flag
    flag = inject(propagator, context)["traceparent"][-2:]
    assert bool(int(flag, 16) & TraceFlags.RANDOM_TRACE_ID) is random_flag


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"traceparent": f"00-{A}-{SPAN}-01", "tracestate": "a=1,b=2"}, "a=1,b=2"),
        ({"traceparent": f"00-{A}-{SPAN}-01", "tracestate": ["a=1", "b=2"]}, "a=1,b=2"),
        ({"traceparent": f"00-{A}-{SPAN}-01", "tracestate": "ot=th:8,a=1"}, "ot=th:8,a=1"),
        ({"traceparent": f"00-{A}-{SPAN}-01", "tracestate": ""}, ""),
        (
            {
                "traceparent": f"00-{A}-{SPAN}-01",
                "sentry-trace": f"{A}-{SPAN}-0",
                "tracestate": "a=1",
            },
            "a=1",
        ),
        (
            {
                "traceparent": f"00-{B}-{SPAN}-01",
                "sentry-trace": f"{A}-{SPAN}-1",
                "tracestate": "a=1",
            },
            "",
        ),
        ({"sentry-trace": f"{A}-{SPAN}-1", "tracestate": "a=1"}, ""),
    ],
)
def test_tracestate(propagator, headers, expected):
    """Other vendors' entries travel on with the trace that they belong to, and with no other."""
    context, span = extract(propagator, headers)
    assert span.trace_state.to_header() == expected
    assert inject(propagator, context).get("tracestate", "") == expected


# --- baggage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("a=1", {"a": "1"}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        (["a=1", "b=2,c=3"], {"a": "1", "b": "2", "c": "3"}),
        (" a = 1 , b = 2 ", {"a": "1", "b": "2"}),
        ("a=1;ttl=5;x, b=2", {"a": "1", "b": "2"}),  # properties have no place in the API
        ("a=%C3%A4%20%E2%82%AC%2C%3B%3D", {"a": "ä €,;="}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1+1", {"a": "1+1"}),
        ("a=", {"a": ""}),
        ("a=%zz%ff", {"a": "%zz\ufffd"}),
        ("a=1,,nothing,=x, ,b=2", {"a": "1", "b": "2"}),
        ("a=1,a=2", {"a": "2"}),
        ("", {}),
        (DSC, {}),
    ],
)
def test_application_baggage(propagator, header, expected):
    """The application's entries of all `baggage` lines are read as W3C has it, without Sentry's."""
    context, _ = extract(propagator, {"baggage": header})
    assert baggage.get_all(context) == expected
    again, _ = extract(propagator, inject(propagator, context))
    assert baggage.get_all(again) == expected


@pytest.mark.parametrize("value", ["ä €", "a,b;c=d", "%41", "100%", "\n\0", "+ ", "𝄞", '"\\', ""])
def test_baggage_values_round_trip(propagator, value):
    """A value of any characters comes out of the header as it went in, for others' readers, too."""
    context = baggage.set_baggage("k", value, baggage.set_baggage("ünï", value, Context()))
    carrier = inject(propagator, context)
    assert re.fullmatch(r"[!-~]*", carrier["baggage"])
    assert baggage.get_all(propagator.extract(carrier, Context())) == {"k": value, "ünï": value}
    if value.strip():
        others = W3CBaggagePropagator().extract(carrier, Context())
        assert baggage.get_baggage("k", others) == value.strip()


def test_a_lone_surrogate_does_not_stop_a_request(propagator):
    """What no header can hold is replaced."""
    context = baggage.set_baggage("k", "a\ud800b", baggage.set_baggage("n", 7, Context()))
    assert inject(propagator, context) == {"baggage": "n=7,k=a%3Fb"}


def test_one_baggage_header(propagator):
    """The application's entries and Sentry's leave in one header, whatever lines they came in."""
    context, _ = extract(
        propagator,
        {"sentry-trace": f"{A}-{SPAN}-1", "baggage": ["user=alice", f"{DSC},tier=gold"]},
    )
    context = baggage.set_baggage("sentry-release", "forged", context)
    header = inject(propagator, context)["baggage"]
    assert header.count("sentry-release") == 1, "the application cannot add to Sentry's entries"
    assert entries(header) == {
        "user": "alice",
        "tier": "gold",
        **{f"sentry-{key}": value for key, value in FROZEN.items()},
    }


def test_baggage_limits_out(propagator):
    """At most 64 entries and 8192 bytes leave; an entry that does not fit does not stop others."""
    context = Context()
    for number in range(100):
        context = baggage.set_baggage(f"k{number}", "v", context)
    assert len(inject(propagator, context)["baggage"].split(",")) == 64
    context = baggage.set_baggage("big", "x" * 8189, baggage.set_baggage("small", "y", Context()))
    assert inject(propagator, context)["baggage"] == "small=y"
    context = baggage.set_baggage("big", "x" * 8188, Context())
    assert len(inject(propagator, context)["baggage"]) == 8192
    context = baggage.set_baggage("big", "x" * 8189, Context())
    assert inject(propagator, context) == {}


@pytest.mark.parametrize("value", ["v", "x" * 120])
def test_sentrys_entries_have_room_first(propagator, value):
    """The sampling context leaves whole beside baggage of any size, behind it."""
    context, _ = extract(propagator, {"sentry-trace": f"{A}-{SPAN}-1", "baggage": DSC})
    for number in range(100):
        context = baggage.set_baggage(f"k{number}", value, context)
    header = inject(propagator, context)["baggage"]
    members = header.split(",")
    assert header.endswith(f",{DSC}")
    assert len(header) <= 8192
    assert len(members) == 64 or len(header) > 8192 - 130
    assert members[0] == f"k0={value}"


CARRIERS = [dict, httpx.Headers, CaseInsensitiveDict, lambda items: {"a": 1, 7: 1, **items}]


@pytest.mark.parametrize("make", CARRIERS)
@pytest.mark.parametrize("name", ["baggage", "Baggage"])
@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("tenant=acme", "tenant=acme,user=alice"),
        ("tenant=acme;ttl=5 , b=%41", "tenant=acme;ttl=5,b=%41,user=alice"),
        ("user=bob,tenant=acme", "tenant=acme,user=alice"),
        (f"tenant=acme,sentry-trace_id={B}, sentry-org_id=18", "tenant=acme,user=alice"),
        (",=,nothing", "user=alice"),
        ("", "user=alice"),
    ],
)
def test_baggage_that_is_there_already(propagator, make, name, there, expected):
    """What the application wrote into its request stays, in one header, however often we write."""
    context, _ = extract(propagator, {"sentry-trace": f"{A}-{SPAN}-1", "baggage": DSC})
    context = baggage.set_baggage("user", "alice", context)
    carrier = make({name: there})
    for _ in range(2):
        propagator.inject(carrier, context)
        found = {key: it for key, it in carrier.items() if str(key).lower() == "baggage"}
        assert found == {"baggage": f"{expected},{DSC}"}


def test_baggage_that_is_there_without_a_trace(propagator):
    """Sentry's entries that somebody else wrote stay where we write none."""
    carrier = {"baggage": f"{DSC},tenant=acme"}
    propagator.inject(carrier, Context())
    assert carrier == {"baggage": f"{DSC},tenant=acme"}
    propagator.inject(carrier, baggage.set_baggage("user", "alice", Context()))
    assert carrier == {"baggage": f"{DSC},tenant=acme,user=alice"}


@pytest.mark.parametrize("there", [7, None, {"StringValue": "a=1"}, ["tenant=acme", b"x=y", 7]])
def test_baggage_that_is_no_text(propagator, there):
    """Whatever a carrier holds under the name, ours is written, after what is text."""
    carrier = {"baggage": there}
    propagator.inject(carrier, baggage.set_baggage("user", "alice", Context()))
    before = "tenant=acme," if isinstance(there, list) else ""
    assert carrier == {"baggage": f"{before}user=alice"}


@pytest.mark.parametrize(
    ("key", "written"),
    [("a+b", "a+b"), ("u!id", "u!id"), ("a b", "a%20b"), ("a%b", "a%25b"), ("a=b,", "a%3Db%2C")],
)
def test_baggage_keys(propagator, key, written):
    """A key that W3C has, a token, is written as it is; another one is coded."""
    carrier = inject(propagator, baggage.set_baggage(key, "v", Context()))
    assert carrier == {"baggage": f"{written}=v"}
    assert baggage.get_all(propagator.extract(carrier, Context())) == {key: "v"}


class Unprintable:
    def __str__(self):
        raise RuntimeError


def test_baggage_of_any_type(propagator):
    """What is no text never makes a request fail: it is written as text, or left out."""
    context = Context()
    for key, value in ((7, "x"), (Unprintable(), "x"), ("k", Unprintable()), ("n", None), ("", 1)):
        context = baggage.set_baggage(key, value, context)
    assert inject(propagator, context) == {"baggage": "7=x,n=None"}


def test_baggage_limits_in(propagator):
    """At most 64 entries and 8192 bytes are read, and no entry is cut in half."""
    context, _ = extract(propagator, {"baggage": ",".join(f"k{n}=v" for n in range(100))})
    assert len(baggage.get_all(context)) == 64
    for size, kept in ((8192 - 6, {"a", "b"}), (8192 - 5, {"a"})):
        lines = ["a=1", "b=" + "x" * size, "c=3"]
        context, _ = extract(propagator, {"baggage": lines})
        assert set(baggage.get_all(context)) == kept


# --- the dynamic sampling context --------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sentry-trace": f"{A}-{SPAN}-1", "baggage": DSC}, FROZEN),
        ({"sentry-trace": f"{A}-{SPAN}-0", "baggage": f"a=1,{DSC};p=1"}, FROZEN),
        ({"sentry-trace": f"{A}-{SPAN}", "baggage": ["a=1", DSC]}, FROZEN),
        ({"traceparent": f"00-{A}-{SPAN}-01", "baggage": DSC}, FROZEN),
        # that of another trace is not ours, and nobody makes one up for a trace of Sentry's
        ({"sentry-trace": f"{B}-{SPAN}-1", "baggage": DSC}, {}),
        ({"sentry-trace": f"{B}-{SPAN}-1", "traceparent": f"00-{A}-{SPAN}-01", "baggage": DSC}, {}),
        ({"sentry-trace": f"{A}-{SPAN}-1"}, {}),
        ({"sentry-trace": f"{A}-{SPAN}-1", "baggage": "sentry-release=x"}, {}),
        # a trace that comes without Sentry has no context yet
        ({"traceparent": f"00-{A}-{SPAN}-01"}, {"trace_id": A, **IDENTITY, "sampled": "true"}),
        (
            {"traceparent": f"00-{B}-{SPAN}-00", "baggage": DSC},
            {"trace_id": B, **IDENTITY, "sampled": "false"},
        ),
        (
            {"traceparent": f"00-{B}-{SPAN}-00", "sentry-trace": f"{'0' * 32}-{SPAN}"},
            {"trace_id": B, **IDENTITY, "sampled": "false"},
        ),
    ],
)
def test_an_incoming_context_is_frozen(propagator, headers, expected):
    """The context that came with a trace is passed on unchanged, by every span of it."""
    context, span = extract(propagator, headers)
    assert propagator.dynamic_sampling_context(span) == expected
    provider = TracerProvider(sampler=SentrySampler(0.5), shutdown_on_exit=False)
    child = provider.get_tracer("test").start_span("child", context, SpanKind.SERVER)
    if span.trace_state.sampled is None and expected:  # left open, and decided here
        expected = {**expected, "sample_rate": "0.5", "sample_rand": "0.250000", "sampled": "true"}
    sent = entries(inject(propagator, set_span_in_context(child, context)).get("baggage", ""))
    assert {k[7:]: v for k, v in sent.items() if k.startswith("sentry-")} == expected


@pytest.mark.parametrize("rate", [0.0, 1 / 3, 1.0])
@pytest.mark.parametrize("headers", [{}, {"baggage": "a=1"}, {"baggage": f"sentry-trace_id={B}"}])
def test_a_caller_that_defers_and_sends_no_context(propagator, rate, headers):
    """Who decides makes the context, as sentry-sdk does: else nobody would know the rate."""
    context, _ = extract(propagator, {"sentry-trace": f"{A}-{SPAN}", **headers})
    provider = TracerProvider(sampler=SentrySampler(rate), shutdown_on_exit=False)
    span = provider.get_tracer("test").start_span("job", context, SpanKind.SERVER)
    carrier = inject(propagator, set_span_in_context(span, context))
    sent = propagator.dynamic_sampling_context(span.get_span_context())
    assert sent == {
        "trace_id": A,
        **IDENTITY,
        "sampled": "true" if carrier["sentry-trace"].endswith("-1") else "false",
        "sample_rate": f"{rate:.6g}",
        "sample_rand": sent["sample_rand"],
        "transaction": "job",
    }
    rate = float(sent["sample_rate"])
    assert (float(sent["sample_rand"]) < rate) is (sent["sampled"] == "true")
    told = entries(carrier["baggage"])
    assert {key[7:]: it for key, it in told.items() if key.startswith("sentry-")} == sent


@pytest.mark.parametrize("flag", ["-1", "-0", ""])
def test_a_service_without_spans_passes_the_context_on(propagator, flag):
    """Where no span is made, and nothing decided, the context leaves as it came."""
    context, _ = extract(propagator, {"sentry-trace": f"{A}-{SPAN}{flag}", "baggage": DSC})
    assert entries(inject(propagator, context)["baggage"]) == entries(DSC)


@pytest.mark.parametrize(
    ("ours", "theirs", "continued"),
    [("o17.", "17", True), ("o17.", "18", False), ("", "18", True), ("o17.", "", True)],
)
def test_another_organisation(ours, theirs, continued):
    """A trace of another Sentry organisation is not continued; the application's baggage is."""
    settings = Settings.from_env({"SENTRY_DSN": f"https://key@{ours}sentry.example/1"})
    org = f",sentry-org_id={theirs}" if theirs else ""
    context, span = extract(
        SentryPropagator(settings),
        {"sentry-trace": f"{A}-{SPAN}-0", "baggage": f"a=1,sentry-trace_id={A}{org}"},
    )
    assert span.is_valid is continued
    assert baggage.get_all(context) == {"a": "1"}


@pytest.mark.parametrize("trace", ["", f"sentry-trace_id={B},", f"sentry-trace_id={A},"])
@pytest.mark.parametrize("org", ["17", "18"])
@pytest.mark.parametrize("strict", [True, False])
def test_the_organisation_counts_whatever_trace_it_stands_beside(trace, org, strict):
    """As in sentry-sdk, `sentry-org_id` beside `sentry-trace` is that of its sender."""
    settings = Settings.from_env(
        {
            "SENTRY_DSN": "https://key@o17.ingest.sentry.io/42",
            "SENTRY_STRICT_TRACE_CONTINUATION": str(strict),
        }
    )
    propagator = SentryPropagator(settings)
    headers = {"sentry-trace": f"{A}-{SPAN}-1", "baggage": f"{trace}sentry-org_id={org}"}
    _, span = extract(propagator, headers)
    with sentry_sdk.new_scope() as scope:
        dsn = settings.dsn
        scope.set_client(sentry_sdk.Client(dsn=dsn, strict_trace_continuation=strict))
        native = sentry_sdk.continue_trace(headers)
    assert span.is_valid is (native.trace_id == A) is (org == "17")


def test_the_organisation_of_another_traces_baggage(propagator):
    """Beside a `traceparent` alone, baggage is that of its own trace and says nothing of others."""
    headers = {"traceparent": f"00-{A}-{SPAN}-01"}
    for trace, continued in ((A, False), (B, True)):
        sentry = f"sentry-trace_id={trace},sentry-org_id=18"
        _, span = extract(propagator, {**headers, "baggage": sentry})
        assert span.is_valid is continued


@pytest.mark.parametrize(
    ("rate", "name", "attributes", "more"),
    [
        (
            1.0,
            "GET",
            {"http.request.method": "GET", "http.route": "/u/{id}"},
            {"sampled": "true", "sample_rate": "1", "transaction": "GET /u/{id}"},
        ),
        (
            0.0,
            "GET",
            {"http.request.method": "GET", "url.path": "/u/7"},
            {"sampled": "false", "sample_rate": "0"},
        ),
        (1 / 3, "job", {}, {"sample_rate": "0.333333", "transaction": "job"}),
    ],
)
def test_the_head_of_a_trace_makes_the_context(propagator, rate, name, attributes, more):
    """The head sends identity, decision, rate, number, and the name only where it is a good one."""
    provider = TracerProvider(sampler=SentrySampler(rate), shutdown_on_exit=False)
    span = provider.get_tracer("test").start_span(name, kind=SpanKind.SERVER, attributes=attributes)
    context = span.get_span_context()
    sent = propagator.dynamic_sampling_context(context)
    rand = sent["sample_rand"]
    assert re.fullmatch(r"0\.\d{6}", rand)
    assert sent == {
        "trace_id": f"{context.trace_id:032x}",
        **IDENTITY,
        "sampled": "true" if float(rand) < rate else "false",
        "sample_rand": rand,
        **more,
    }
    frozen = dict(sent)
    context.trace_state.name_transaction = lambda: "renamed"
    assert propagator.dynamic_sampling_context(context) == frozen, "frozen at first use"
    header = inject(propagator, set_span_in_context(span))["baggage"]
    assert entries(header) == {f"sentry-{key}": value for key, value in frozen.items()}


def test_identity_without_a_dsn():
    """Without DSN and release the context names neither."""
    context = SpanContext(1, 1, is_remote=False, trace_state=SentryTraceState(sampled=None))
    assert SentryPropagator(Settings.from_env({})).dynamic_sampling_context(context) == {
        "trace_id": f"{1:032x}",
        "environment": "production",
    }


def test_settings_come_from_the_environment(monkeypatch):
    """Named in OTEL_PROPAGATORS, without our distribution, it reads the environment itself."""
    monkeypatch.setenv("SENTRY_DSN", "https://key@o17.ingest.sentry.io/42")
    context = SpanContext(1, 1, is_remote=False, trace_state=SentryTraceState(sampled=None))
    assert SentryPropagator().dynamic_sampling_context(context)["public_key"] == "key"


# --- out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "flags", "flag", "traceparent"),
    [
        (SentryTraceState(sampled=True), 1, "-1", "01"),
        (SentryTraceState(sampled=False), 0, "-0", "00"),
        (SentryTraceState(sampled=False), 2, "-0", "02"),
        (SentryTraceState(sampled=None), 0, "", None),
        # a span of a kept trace that was itself dropped speaks for the trace
        (SentryTraceState(sampled=True), 2, "-1", "03"),
        (TraceState(), 3, "-1", "03"),
        (TraceState(), 0, "-0", "00"),
    ],
)
def test_outgoing_headers(propagator, state, flags, flag, traceparent):
    """Both headers say the same; an undecided trace sends no `traceparent`, which cannot say so."""
    span = SpanContext(
        int(A, 16), int(SPAN, 16), is_remote=False, trace_flags=TraceFlags(flags), trace_state=state
    )
    carrier = inject(propagator, set_span_in_context(NonRecordingSpan(span)))
    assert carrier["sentry-trace"] == f"{A}-{SPAN}{flag}"
    expected = None if traceparent is None else f"00-{A}-{SPAN}-{traceparent}"
    assert carrier.get("traceparent") == expected
    sampled = {"-1": "true", "-0": "false"}.get(flag)
    assert entries(carrier["baggage"]).get("sentry-sampled") == sampled


def test_nothing_to_say(propagator):
    """Without span and baggage no header is written."""
    assert inject(propagator, Context()) == {}


@pytest.mark.parametrize(
    ("sentry_trace", "flag"),
    [(f"{A}-{SPAN}-1", "1"), (f"{A}-{SPAN}-0", "0"), (f"{A}-{SPAN}", None)],
)
def test_a_decision_travels_through(propagator, sentry_trace, flag):
    """A service without spans of its own passes the decision on, also where there is none."""
    context, _ = extract(propagator, {"sentry-trace": sentry_trace, "baggage": DSC})
    carrier = inject(propagator, context)
    assert carrier["sentry-trace"] == sentry_trace
    assert carrier.get("traceparent", "")[-1:] == (flag or "")


# --- carriers of the instrumentations ----------------------------------------------------------


def test_asgi_getter(propagator):
    """It reads an ASGI scope: bytes, several lines of one header, any case."""
    scope = {
        "headers": [
            (b"Sentry-Trace", f"{A}-{SPAN}-1".encode()),
            (b"baggage", b"a=1"),
            (b"baggage", DSC.encode()),
            (b"traceparent", b"\xff\xfe"),
        ]
    }
    context = propagator.extract(scope, Context(), asgi_getter)
    span = get_current_span(context).get_span_context()
    assert f"{span.trace_id:032x}" == A
    assert baggage.get_all(context) == {"a": "1"}
    assert propagator.dynamic_sampling_context(span) == FROZEN


def test_celery_getter(propagator):
    """It reads a Celery request, whose headers are attributes of any type."""
    request = SimpleNamespace(
        **{"sentry-trace": f"{A}-{SPAN}-0", "baggage": [DSC], "tracestate": 5}
    )
    span = get_current_span(
        propagator.extract(request, Context(), celery_getter)
    ).get_span_context()
    assert (f"{span.trace_id:032x}", span.trace_state.sampled) == (A, False)
    assert propagator.dynamic_sampling_context(span) == FROZEN
    request = SimpleNamespace(**{"sentry-trace": 7, "traceparent": (1, 2), "baggage": None})
    assert propagator.extract(request, Context(), celery_getter) == Context()


def test_extract_into_the_current_context(propagator):
    """Without a context the current one is the base, and it stays where nothing came."""
    assert propagator.extract({}) == Context()
    assert baggage.get_all(propagator.extract({"baggage": "a=1"})) == {"a": "1"}


# --- properties --------------------------------------------------------------------------------

PIECES = f"{A} {B} {A.upper()} {SPAN} {OTHER} {'0' * 32} {'0' * 16} 00 01 ff - -1 -0 , ; = % ot a"
PIECES += " sentry- sentry-trace_id sentry-org_id th:8 rv:"
pieces = st.lists(
    st.sampled_from([*PIECES.split(), " ", "\t", "\n"]) | st.text(max_size=5), max_size=9
).map("".join)
header_values = pieces | st.text() | st.lists(pieces, max_size=3)

WELL_FORMED = {
    "sentry-trace": r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}(-[01])?",
    "traceparent": r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]",
    "tracestate": r"[ -~]+",
    "baggage": r"[!-~]+=[!-~]*",
}


@settings(max_examples=500)
@given(
    st.dictionaries(
        st.sampled_from(["sentry-trace", "traceparent", "tracestate", "baggage"]), header_values
    )
)
@example({"sentry-trace": f"{A}-{SPAN}", "tracestate": "ot=rv:-0000000000001", "baggage": "=,;=%"})
def test_any_headers(headers):
    """Any text in any header never raises, and what leaves afterwards is always well-formed."""
    propagator = SentryPropagator(SETTINGS)
    context, remote = extract(propagator, headers)
    text = repr(headers)
    if remote.is_valid:
        assert f"{remote.trace_id:032x}" in text, "no trace is made up"
        assert f"{remote.span_id:016x}" in text
    provider = TracerProvider(sampler=SentrySampler(0.5), shutdown_on_exit=False)
    span = provider.get_tracer("test").start_span("GET /x", context, SpanKind.SERVER)
    assert not remote.is_valid or span.get_span_context().trace_id == remote.trace_id
    carrier = inject(propagator, set_span_in_context(span, context))
    for key, value in carrier.items():
        assert re.fullmatch(WELL_FORMED[key], value), (key, value)
    assert carrier["sentry-trace"][:49] == carrier["traceparent"][3:52]
    assert len(carrier.get("baggage", "")) <= 8192
    _, again = extract(propagator, carrier)
    context = span.get_span_context()
    assert (again.trace_id, again.span_id) == (context.trace_id, context.span_id)
    assert again.trace_flags.sampled == context.trace_flags.sampled
    assert dict(again.trace_state) == dict(context.trace_state)


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=200), max_size=80))
def test_any_baggage(values):
    """Whatever the application puts into its baggage arrives, as far as there is room."""
    values = {key: value for key, value in values.items() if not key.startswith("sentry-")}
    context = Context()
    for key, value in values.items():
        context = baggage.set_baggage(key, value, context)
    propagator = SentryPropagator(SETTINGS)
    carrier = inject(propagator, context)
    assert len(carrier.get("baggage", "")) <= 8192
    arrived = baggage.get_all(propagator.extract(carrier, Context()))
    assert arrived.items() <= values.items()
    if len(values) <= 64 and sum(9 * len(k) + 12 * len(v) for k, v in values.items()) < 4000:
        assert arrived == values
