"""Where traces may come from and go to, and what a page is told."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest
import sentry_sdk
from opentelemetry import baggage, propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_sentry import listed_propagators, propagation
from otel_sentry.listed_propagators import names_in
from otel_sentry.options import Options
from otel_sentry.propagation import SentryPropagator, trace_propagation_meta
from otel_sentry.sampling import SentrySampler
from otel_sentry.scrubbing import Names, Scrubber
from otel_sentry.settings import Settings
from otel_sentry.trace_state import SentryTraceState, header_of

A, B, SPAN = "a" * 31 + "1", "b" * 31 + "2", "1234567890abcdef"
DSN = "https://key@o17.ingest.sentry.io/42"
API = "https://api.example/v1?x=1"


def settings(**environ):
    return Settings.from_env({"SENTRY_DSN": DSN, **environ})


@pytest.fixture
def client():
    """Return what makes a sentry-sdk client the active one."""
    with sentry_sdk.new_scope() as scope:
        yield lambda **options: scope.set_client(sentry_sdk.Client(**options))


# --- where traces come from --------------------------------------------------------------------


@pytest.mark.parametrize("by", ["environment", "client"])
@pytest.mark.parametrize(
    ("ours", "theirs", "strict", "continued"),
    [
        ("17", "17", False, True),
        ("17", "18", False, False),
        ("17", "", False, True),
        ("", "18", False, True),
        ("", "", False, True),
        ("17", "17", True, True),
        ("17", "18", True, False),
        ("17", "", True, False),
        ("", "18", True, False),
        ("", "", True, True),
    ],
)
def test_which_traces_are_continued(client, by, ours, theirs, strict, continued):
    """As in sentry-sdk: never another organisation's; if strict, only one that names ours."""
    dsn = "https://key@sentry.example/42"
    environ = {"SENTRY_DSN": dsn}
    if by == "environment":
        environ |= {"SENTRY_ORG_ID": ours, "SENTRY_STRICT_TRACE_CONTINUATION": str(strict)}
        client(dsn=dsn)
    else:
        client(dsn=dsn, org_id=ours or None, strict_trace_continuation=strict)
    propagator = SentryPropagator(Settings.from_env(environ))
    entry = f",sentry-org_id={theirs}" if theirs else ""
    headers = {"sentry-trace": f"{A}-{SPAN}-1", "baggage": f"a=1,sentry-trace_id={A}{entry}"}
    context = propagator.extract(headers, Context())
    assert get_current_span(context).get_span_context().is_valid is continued
    assert baggage.get_all(context) == {"a": "1"}
    if by == "client":
        native = sentry_sdk.continue_trace(headers)
        assert (native.trace_id == A) is continued, "sentry-sdk does the same"


def test_another_client_is_another_identity(client):
    """Organisation and release are those of the client that is active now."""
    propagator = SentryPropagator(settings())
    headers = {"sentry-trace": f"{A}-{SPAN}-1", "baggage": f"sentry-trace_id={A},sentry-org_id=17"}
    for org_id, continued in (("17", True), ("18", False)):
        client(dsn=DSN, org_id=org_id, release="r")
        context = propagator.extract(headers, Context())
        assert get_current_span(context).get_span_context().is_valid is continued
        assert propagator._head(_span().get_span_context(), None, None)["org_id"] == org_id
        assert propagator._head(_span().get_span_context(), None, None)["release"] == "r"


def test_who_makes_a_trace_is_who_sends_its_errors(client):
    """Key, organisation, release and environment are the client's; one without a DSN has none."""
    environ = {"SENTRY_RELEASE": "shop@1", "SENTRY_ENVIRONMENT": "testing"}
    propagator = SentryPropagator(settings(**environ))
    ours = {"public_key": "key", "org_id": "17", "release": "shop@1", "environment": "testing"}
    theirs = {"public_key": "own", "org_id": "18", "release": "app@2", "environment": "staging"}

    client(environment="staging", release="app@2")
    assert propagator.identity() == ours
    client(dsn="https://own@o18.ingest.sentry.io/7", environment="staging", release="app@2")
    assert propagator.identity() == theirs
    sent = propagator.dynamic_sampling_context(_span().get_span_context())
    assert {key: sent[key] for key in theirs} == theirs
    for org, continued in (("17", False), ("18", True)):
        headers = {"sentry-trace": f"{A}-{SPAN}-1", "baggage": f"sentry-org_id={org}"}
        headers["baggage"] += f",sentry-trace_id={A}"
        context = propagator.extract(headers, Context())
        assert get_current_span(context).get_span_context().is_valid is continued


def test_without_sentry_sdk(monkeypatch):
    """Under another distribution, where nobody imports sentry-sdk, the settings say it all."""
    monkeypatch.delitem(sys.modules, "sentry_sdk")
    sent = SentryPropagator(settings()).dynamic_sampling_context(_span().get_span_context())
    assert (sent["org_id"], sent["public_key"]) == ("17", "key")


def _span(rate=1.0, attributes=None, kind=SpanKind.CLIENT):
    """Return a span below a server's."""
    provider = TracerProvider(sampler=SentrySampler(rate), shutdown_on_exit=False)
    tracer = provider.get_tracer("t")
    root = tracer.start_span("GET", Context(), SpanKind.SERVER)
    return tracer.start_span("GET", set_span_in_context(root, Context()), kind, attributes)


# --- where they go -----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1.0, 0.0])
@pytest.mark.parametrize(
    ("targets", "attributes", "sent"),
    [
        (None, {"url.full": API}, True),
        ([".*"], {"url.full": API}, True),
        ([], {"url.full": API}, False),
        (["api.example"], {"url.full": API}, True),
        (["api.example"], {"http.url": API}, True),
        (["^https://api[.]"], {"http.url": API}, True),
        (["^http://"], {"http.url": API}, False),
        (["other.example", re.compile("v[0-9]")], {"http.url": API}, True),
        (["["], {"http.url": f"{API}["}, True),
        (["["], {"http.url": API}, False),
        ([7, None], {"http.url": API}, False),
        (["other.example"], {"db.system": "redis"}, True),
        (["other.example"], {"http.url": 7}, True),
        (["other.example"], None, True),
    ],
)
def test_where_traces_go(client, rate, targets, attributes, sent):
    """Requests to other targets carry nothing of ours, sampled or not; what is no request does."""
    client(dsn=DSN, **({} if targets is None else {"trace_propagation_targets": targets}))
    span = _span(rate, attributes)
    context = baggage.set_baggage("user", "alice", set_span_in_context(span, Context()))
    carrier: dict[str, str] = {}
    SentryPropagator(settings()).inject(carrier, context)
    assert bool(carrier) is sent
    assert ("sentry-trace" in carrier) is sent


@pytest.mark.parametrize("url", ["http.url", "url.full"])
@pytest.mark.parametrize(
    ("rate", "plumbing", "below"),
    [
        (1.0, False, None),
        (1.0, True, None),
        (0.0, True, None),
        (0.0, False, f"{A}-{SPAN}"),
        (1.0, False, "celery"),
        (0.0, False, "celery"),
    ],
)
def test_requests_outside_of_a_request_have_a_target(client, rate, plumbing, below, url):
    """A CLIENT span that is left out is a request to somewhere, whoever left it out, and why."""
    sampler = SentrySampler(rate, infrastructure_spans=plumbing)
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer(
        "opentelemetry.instrumentation.celery"
    )
    propagator = SentryPropagator(settings())
    context = Context()
    if below == "celery":  # a broker that is spoken to over HTTP
        publishing = tracer.start_span("apply_async/a", context, SpanKind.PRODUCER)
        context = set_span_in_context(publishing, context)
    elif below:
        context = propagator.extract({"sentry-trace": below}, context)
    span = tracer.start_span("GET", context, SpanKind.CLIENT, {url: API})
    assert span.is_recording() is (plumbing and rate == 1.0)
    for targets, sent in ((["api.example"], True), (["other.example"], False)):
        client(dsn=DSN, trace_propagation_targets=targets)
        carrier: dict[str, str] = {}
        propagator.inject(carrier, set_span_in_context(span, Context()))
        assert bool(carrier) is sent


@pytest.mark.parametrize(("targets", "sent"), [("other, api[.]example", True), ("other", False)])
def test_targets_from_the_environment(client, targets, sent):
    """The environment names targets without code, and wins over the client's default."""
    client(dsn=DSN)
    carrier: dict[str, str] = {}
    context = set_span_in_context(_span(1.0, {"url.full": API}), Context())
    propagator = SentryPropagator(settings(SENTRY_TRACE_PROPAGATION_TARGETS=targets))
    propagator.inject(carrier, context)
    assert bool(carrier) is sent


@pytest.mark.parametrize("rate", [1.0, 0.0])
def test_other_spans_have_no_target(client, rate):
    """A server's span has an URL, too, and what it sends is no request to it."""
    client(dsn=DSN, trace_propagation_targets=[])
    carrier: dict[str, str] = {}
    span = _span(rate, {"url.full": API}, SpanKind.SERVER)
    SentryPropagator(settings()).inject(carrier, set_span_in_context(span, Context()))
    assert carrier["sentry-trace"].endswith(f"-{rate:.0f}")


def test_a_span_that_is_not_recorded_shares_its_trace():
    """The URL stands beside the state; the sampling context is frozen once for the whole trace."""
    provider = TracerProvider(sampler=SentrySampler(0.0), shutdown_on_exit=False)
    tracer = provider.get_tracer("t")
    root = tracer.start_span("GET", Context(), SpanKind.SERVER)
    below = set_span_in_context(root, Context())
    span = tracer.start_span("GET", below, SpanKind.CLIENT, {"url.full": API})
    state, of_root = (one.get_span_context().trace_state for one in (span, root))
    assert isinstance(state, SentryTraceState)
    assert (state.url, state is of_root) == (API, False)
    carriers = [{}, {}]
    propagator = SentryPropagator(settings())
    for one, carrier in zip((span, root), carriers, strict=True):
        propagator.inject(carrier, set_span_in_context(one, Context()))
    assert carriers[0]["baggage"] == carriers[1]["baggage"]
    assert state.dynamic_sampling_context is of_root.dynamic_sampling_context


# --- other propagators beside ours -------------------------------------------------------------


class B3(TextMapPropagator):
    """Another vendor's, as packages of OpenTelemetry's have it: one header, one trace."""

    fields = frozenset({"b3"})

    def extract(self, carrier, context=None, getter=default_getter):
        trace, span, flag = getter.get(carrier, "b3")[0].split("-")
        remote = SpanContext(int(trace, 16), int(span, 16), is_remote=True,
                             trace_flags=TraceFlags(int(flag)))  # fmt: skip
        return set_span_in_context(NonRecordingSpan(remote), context)

    def inject(self, carrier, context=None, setter=default_setter):
        span = get_current_span(context).get_span_context()
        setter.set(carrier, "b3", f"{span.trace_id:032x}-{span.span_id:016x}-1")


OTHERS = {"tracecontext": TraceContextTextMapPropagator, "baggage": W3CBaggagePropagator, "b3": B3}


@pytest.fixture
def textmap(monkeypatch):
    """Return what makes the propagator of a list of names, as the distribution installs it."""

    def textmap(names: str):
        monkeypatch.setattr(listed_propagators, "_made", lambda name, *_: OTHERS[name]())
        ours = SentryPropagator(settings(SENTRY_TRACE_PROPAGATION_TARGETS="internal.example"))
        return CompositePropagator(listed_propagators.listed(names_in(names), ours, "a test"))

    return textmap


LISTS = ["sentry", "sentry,tracecontext,baggage", "tracecontext,baggage,sentry", "sentry,baggage"]


@pytest.mark.parametrize("names", LISTS)
def test_w3c_propagators_beside_ours_change_nothing(textmap, names):
    """Ours does what they do; what it refuses is not continued, sent or overwritten by them."""
    propagator = textmap(names)
    tracer = TracerProvider(sampler=SentrySampler(1.0), shutdown_on_exit=False).get_tracer("t")

    def leaves(headers, kind=SpanKind.SERVER, attributes=None):
        context = propagator.extract(headers, Context())
        span = tracer.start_span("GET", context, kind, attributes)
        carrier: dict[str, str] = {}
        propagator.inject(carrier, set_span_in_context(span, context))
        return carrier

    baggage_of = leaves({"baggage": "user=alice"})["baggage"]
    assert "user=alice" in baggage_of
    assert "sentry-sample_rate=1" in baggage_of

    both = {"sentry-trace": f"{A}-{SPAN}", "traceparent": f"00-{A}-{SPAN}-00"}
    deferred = leaves(both)
    assert deferred["sentry-trace"][:32] == A
    assert deferred["sentry-trace"][-2:] == "-1", "a caller that defers starves nobody"

    foreign = {"sentry-trace": f"{A}-{SPAN}-1", "traceparent": f"00-{A}-{SPAN}-01",
               "baggage": f"user=alice,sentry-trace_id={A},sentry-org_id=18"}  # fmt: skip
    refused = leaves(foreign)
    assert A not in repr(refused), "another organisation's trace is not continued"
    assert "sentry-org_id=18" not in refused["baggage"]
    assert "user=alice" in refused["baggage"]

    sampled = {"sentry-trace": f"{A}-{SPAN}-1"}
    assert leaves(sampled, SpanKind.CLIENT, {"url.full": API}) == {}, "no target"


def test_others_are_read_before_ours(textmap):
    """Another vendor's headers count alone, and lose against Sentry's, wherever it is listed."""
    for names in ("sentry,b3", "b3,tracecontext,sentry"):
        propagator = textmap(names)
        alone = propagator.extract({"b3": f"{B}-{SPAN}-1"}, Context())
        assert f"{get_current_span(alone).get_span_context().trace_id:032x}" == B
        headers = {"b3": f"{B}-{SPAN}-1", "sentry-trace": f"{A}-{SPAN}-0"}
        both = propagator.extract(headers, Context())
        assert f"{get_current_span(both).get_span_context().trace_id:032x}" == A
        carrier: dict[str, str] = {}
        propagator.inject(carrier, both)
        assert {"b3", "sentry-trace", "traceparent"} <= set(carrier)


@pytest.mark.parametrize(("trace", "continued"), [(A, False), (B, True)])
def test_a_foreign_trace_is_not_continued_through_others(textmap, trace, continued):
    """The trace that ours refuses is not left in the context by a propagator before it."""
    headers = {"b3": f"{trace}-{SPAN}-1", "sentry-trace": f"{A}-{SPAN}-1",
               "baggage": f"sentry-trace_id={A},sentry-org_id=18"}  # fmt: skip
    context = textmap("b3,sentry").extract(headers, Context())
    assert get_current_span(context).get_span_context().is_valid is continued


def test_a_list_without_ours_stands(textmap):
    """Who does not name ours gets what was named."""
    kinds = [type(one) for one in textmap("baggage,tracecontext")._propagators]
    assert kinds == [W3CBaggagePropagator, TraceContextTextMapPropagator]


# --- limits ------------------------------------------------------------------------------------


def test_tracestate_limits():
    """At most 512 characters leave: long entries go first, then the last ones."""
    entries = [("ot", "th:0"), *((f"v{n}", "x" * 40) for n in range(8)), ("long", "y" * 200)]
    state = SentryTraceState(entries, sampled=True)
    header = header_of(state)
    assert len(header) <= 512
    assert header.split(",")[0] == "ot=th:0"
    assert "long" not in header
    assert header.count("v") == 8
    header = header_of(SentryTraceState([*entries[:-1], *((f"w{n}", "z" * 40) for n in range(8))],
                                        sampled=True))  # fmt: skip
    assert 512 - 45 < len(header) <= 512
    assert header.startswith("ot=th:0,v0=")
    short = SentryTraceState(entries[:3], sampled=True)
    assert header_of(short) == short.to_header()


# --- pages -------------------------------------------------------------------------------------


class Meta(HTMLParser):
    """The meta tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, str] = {}
        self.others: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "meta" and set(given) == {"name", "content"}:
            self.tags[given["name"]] = given["content"]
        else:
            self.others.append(tag)


@pytest.fixture
def _installed(monkeypatch):
    environ = {"SENTRY_RELEASE": '"><script>alert(1)</script>'}
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", SentryPropagator(settings(**environ)))


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("rate", [1.0, 0.0])
def test_meta_tags(rate):
    """A page gets what a request would, but for the application's baggage, and no markup in it."""
    context = set_span_in_context(_span(rate, kind=SpanKind.INTERNAL), Context())
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    token = attach(baggage.set_baggage("user", "alice", context))
    try:
        page = Meta(trace_propagation_meta())
    finally:
        detach(token)
    assert page.others == []
    assert page.tags == {name: carrier[name] for name in ("sentry-trace", "baggage", "traceparent")}
    assert "alice" not in str(page.tags)


@pytest.mark.usefixtures("_installed")
def test_no_meta_tags():
    """Without a trace there are none."""
    token = attach(baggage.set_baggage("user", "alice", Context()))
    try:
        assert trace_propagation_meta() == ""
    finally:
        detach(token)
    assert "trace_propagation_meta" in propagation.__all__


# --- what names say -----------------------------------------------------------------------------


def _sent_name(name, scrubber):
    """Return what leaves as the name of a transaction that begins here."""
    propagator = SentryPropagator(settings(), Names(scrubber))
    tracer = TracerProvider(SentrySampler(1.0), shutdown_on_exit=False).get_tracer("tests")
    with tracer.start_as_current_span(name) as span:
        return propagator.dynamic_sampling_context(span.get_span_context()).get("transaction")


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("import users", "import users"),
        ("import for bob@mail.example token=Zq9x", "import for [Filtered] token=[Filtered]"),
        ("y" * 150 + " postgres://application:Zq9xSekrit7Wv-0123456789abcdef@db/shop", None),
        ("y" * 199, "y" * 199),
    ],
)
def test_names_leave_without_secrets(name, sent):
    """A name goes to whoever is called: without secrets, and not at all where it is cut."""
    assert _sent_name(name, Scrubber()) == sent


def test_names_are_scrubbed_once():
    """What is remembered of names is bounded, and another callback is asked anew."""
    options, seen = Options(), []
    names = Names(Scrubber(options=options))
    for number in range(1100):
        assert names(f"job {number}") == f"job {number}"
    assert len(names._known) <= 1024
    options.scrub = lambda _path, value, _rule: seen.append(value) or "mine"
    assert [names("job 1"), names("job 1")] == ["mine", "mine"]
    assert seen == ["job 1"]
