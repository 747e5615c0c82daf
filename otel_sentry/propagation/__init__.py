"""
Continue traces from and to every service, whatever SDK is at the other end.

The launcher does not start the application if this module fails to import: it imports the standard
library and OpenTelemetry's API alone (an import contract and a subprocess test say so).
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from html import escape
from typing import TYPE_CHECKING, Any

from opentelemetry import baggage
from opentelemetry.context import get_current
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from otel_sentry.propagation._client import (
    client_options,
    identity,
    may_continue,
    may_receive,
)
from otel_sentry.propagation._headers import (
    format_baggage,
    members,
    members_of,
    parse_baggage,
    parse_sentry_trace,
    parse_traceparent,
)
from otel_sentry.propagation._probability import probability_of
from otel_sentry.settings import Settings
from otel_sentry.trace_state import (
    SentryTraceState,
    filled_sample_rand,
    header_of,
    outgoing_url,
    rate_text,
    sampled_flag,
    share_of,
    url_towards,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

__all__ = ["SentryPropagator", "trace_propagation_meta"]

FIELDS = ("traceparent", "tracestate", "sentry-trace", "baggage")
"""The headers that a trace travels in."""

_SENTRY_PREFIX = "sentry-"
_SPELLINGS = ("baggage", "Baggage", "BAGGAGE")  # in carriers that tell them apart
_EVERYWHERE = [".*"]  # sentry-sdk's default of trace_propagation_targets


class SentryPropagator(TextMapPropagator):
    """
    Read and write ``traceparent``, ``tracestate``, ``sentry-trace`` and one ``baggage`` header.

    An incoming dynamic sampling context is frozen and passed on; a trace that starts here gets
    one, frozen when it is first sent.

    Args:
        settings: Where key, release and environment of the dynamic sampling context come from,
            unless sentry-sdk's client says; default: the environment variables.
        scrub: Takes secrets out of a span's name, which leaves in the dynamic sampling context.
    """

    def __init__(self, settings: Settings | None = None, scrub: Callable[[str], str] = str) -> None:
        self._scrub = scrub
        self._settings = settings or Settings.from_env(os.environ)
        self._identified: tuple[dict[str, Any], dict[str, str]] | None = None

    @property
    def fields(self) -> set[str]:
        """Return the headers that :meth:`inject` sets."""
        return set(FIELDS)

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """Return ``context`` with the trace and the baggage that ``carrier`` holds."""
        context = get_current() if context is None else context
        entries = list(parse_baggage(_lines(carrier, "baggage", getter)))
        for key, value in entries:
            if not key.startswith(_SENTRY_PREFIX):
                context = baggage.set_baggage(key, value, context)
        sentry_trace = _first(_lines(carrier, "sentry-trace", getter))
        traceparent = _first(_lines(carrier, "traceparent", getter))
        if not sentry_trace and not traceparent:
            return context
        sentry = {
            key[len(_SENTRY_PREFIX) :]: value
            for key, value in entries
            if key.startswith(_SENTRY_PREFIX)
        }
        remote = _remote_span_context(
            sentry_trace, traceparent, _lines(carrier, "tracestate", getter), sentry
        )
        if remote is None:
            return context
        if self._is_foreign(remote, sentry.get("org_id", "")):
            return _without(remote.trace_id, context)
        return set_span_in_context(NonRecordingSpan(remote), context)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Write the current span's trace, and the baggage, into ``carrier``."""
        span = get_current_span(context)
        span_context = span.get_span_context()
        url = _url_towards(span, span_context.trace_state)
        if url and not self._may_receive(url):
            return
        sentry: list[str] = []
        if span_context.is_valid:
            trace, parent = f"{span_context.trace_id:032x}", f"{span_context.span_id:016x}"
            sampled = sampled_flag(span_context)
            flag = "" if sampled is None else "-1" if sampled else "-0"
            setter.set(carrier, "sentry-trace", f"{trace}-{parent}{flag}")
            if sampled is not None:
                # W3C has no "undecided": flag 00 would make the receiver drop the trace.
                # The trace's decision, as above: a span of a kept trace may itself be dropped.
                flags = span_context.trace_flags & ~TraceFlags.SAMPLED | sampled
                setter.set(carrier, "traceparent", f"00-{trace}-{parent}-{flags:02x}")
                if span_context.trace_state:
                    setter.set(carrier, "tracestate", header_of(span_context.trace_state))
            sentry = members(self.dynamic_sampling_context(span_context), _SENTRY_PREFIX)
        ours = _application_entries(context)
        if not ours and not sentry:
            return
        beside = [
            text
            for key, text in members_of(_taken_baggage(carrier))
            if key not in ours and not (sentry and key.startswith(_SENTRY_PREFIX))
        ]
        # Half a sampling context would tell the next service something else: it goes first.
        header = format_baggage([*beside, *members(ours)], last=sentry)
        if header:
            setter.set(carrier, "baggage", header)

    def _is_foreign(self, remote: SpanContext, org_id: str) -> bool:
        """Return whether the trace comes from another Sentry organisation."""
        options = client_options()
        if getattr(remote.trace_state, "dynamic_sampling_context", None) is None:
            org_id = ""  # baggage of another trace, beside a `traceparent` alone
        return not may_continue(
            self._identity(options).get("org_id", ""),
            org_id,
            strict=bool(
                options.get("strict_trace_continuation") or self._settings.strict_trace_continuation
            ),
        )

    def identity(self) -> dict[str, str]:
        """Return who makes traces here: ``environment`` and, if known, key, release, ``org_id``."""
        return self._identity(client_options())

    def _identity(self, options: dict[str, Any]) -> dict[str, str]:
        known = self._identified
        if known is None or known[0] is not options:  # another client
            self._identified = known = (options, identity(self._settings, options))
        return known[1]

    def _may_receive(self, url: str) -> bool:
        targets = self._settings.trace_propagation_targets
        if targets is None:
            targets = client_options().get("trace_propagation_targets", _EVERYWHERE)
        return targets == _EVERYWHERE or may_receive(url, targets or ())

    def dynamic_sampling_context(
        self, span_context: SpanContext, transaction: str | None = None
    ) -> dict[str, str]:
        """
        Return the trace's dynamic sampling context; the head of a trace freezes it here.

        Args:
            span_context: Of any span of the trace.
            transaction: The name of the head's transaction, where it is known; empty: it has none
                that is good enough.

        Source: https://develop.sentry.dev/sdk/foundations/trace-propagation/dynamic-sampling-context/
        """
        state = span_context.trace_state
        if isinstance(state, SentryTraceState):
            frozen = state.dynamic_sampling_context
            if frozen is not None:
                return frozen
            if transaction is None and state.name_transaction is not None:
                transaction = self._scrub(state.name_transaction() or "")
            return state.freeze(self._head(span_context, state, transaction))
        # Another sampler decided. There is no place to keep a name, so none is sent: what is sent
        # must stay the same.
        return {} if span_context.is_remote else self._head(span_context, None, None)

    def _head(
        self,
        span_context: SpanContext,
        state: SentryTraceState | None,
        transaction: str | None,
    ) -> dict[str, str]:
        """Make the context of a trace that has none."""
        sampled = sampled_flag(span_context)
        rate = state.sample_rate if state is not None else None
        sample_rand = state.sample_rand if state is not None else None
        if rate is None and sampled is not None:
            # A state of ours without a rate came with the trace: another service decided.
            found = probability_of(span_context, sampled=sampled, here=state is None)
            rate, sample_rand = found or (None, sample_rand)
        context = {
            "trace_id": f"{span_context.trace_id:032x}",
            **self.identity(),
        }
        if sampled is not None:
            context["sampled"] = "true" if sampled else "false"
        if rate is not None:
            context["sample_rate"] = rate_text(rate)
        if sample_rand is not None:
            context["sample_rand"] = sample_rand
        if transaction:
            context["transaction"] = transaction
        return context


def trace_propagation_meta() -> str:
    """
    Return HTML meta tags with which Sentry's browser SDK continues the current trace.

    Put it into the ``<head>`` of a page. It says what an outgoing request would, and nothing of
    the application's own baggage, which is no business of whoever reads the page.
    """
    from opentelemetry.propagate import inject

    carrier: dict[str, Any] = {}
    inject(carrier)
    sentry = [
        one for one in carrier.get("baggage", "").split(",") if one.startswith(_SENTRY_PREFIX)
    ]
    tags = {**carrier, "baggage": ",".join(sentry)}
    return "".join(
        f'<meta name="{name}" content="{escape(str(tags[name]))}">'
        for name in ("sentry-trace", "baggage", "traceparent")
        if tags.get(name)
    )


def _url_towards(span: Span, state: TraceState) -> str:
    """Return where the request goes that ``span`` stands for; empty where it is none."""
    if getattr(span, "kind", None) is SpanKind.CLIENT:
        return outgoing_url(getattr(span, "attributes", None) or {})
    return url_towards(state)


def _without(trace_id: int, context: Context) -> Context:
    """Return the context without the trace, which a propagator before ours may have put in."""
    found = get_current_span(context).get_span_context()
    if found.is_remote and found.trace_id == trace_id:
        return set_span_in_context(INVALID_SPAN, context)
    return context


def _lines(carrier: CarrierT, name: str, getter: Getter[CarrierT]) -> list[str]:
    """Return all lines of a header that are text."""
    try:
        return [line for line in getter.get(carrier, name) or () if isinstance(line, str)]
    except Exception:  # noqa: BLE001 - ASGI's getter raises where bytes are no text
        return []


def _application_entries(context: Context | None) -> dict[str, str]:
    """Return the application's baggage, as far as it can be text."""
    entries = {}
    for key, value in baggage.get_all(context).items():
        try:
            name, text = str(key), str(value)
        except Exception:  # noqa: BLE001, S112 - what it put there must not stop its request
            continue
        if name and not name.startswith(_SENTRY_PREFIX):
            entries[name] = text
    return entries


def _taken_baggage(carrier: Any) -> list[str]:
    """Return the lines of ``baggage`` that the application has written, which ours replaces."""
    if isinstance(carrier, (dict, MutableMapping)):  # a dict is told faster
        for name in _SPELLINGS:
            if name in carrier:
                lines = _lines(carrier, name, default_getter)
                if name != "baggage":
                    del carrier[name]  # there would be two
                return lines
    return []


def _first(values: list[str]) -> str:
    return values[0] if values else ""


def _remote_span_context(
    sentry_trace: str, traceparent: str, tracestate: list[str], sentry_baggage: dict[str, str]
) -> SpanContext | None:
    """
    Read the two trace headers together.

    With the same trace id in both, the flag of ``sentry-trace`` decides, and an absent flag means
    "decide here": a Sentry client that defers sends ``traceparent ...-00`` beside it.
    """
    sentry = parse_sentry_trace(sentry_trace)
    w3c = parse_traceparent(traceparent)
    sampled: bool | None
    if sentry:
        trace, span, flag = sentry
        sampled = None if flag is None else flag == "1"
        same_trace = w3c is not None and w3c[0] == trace
    elif w3c:
        trace, span, flags = w3c
        sampled = bool(int(flags, 16) & TraceFlags.SAMPLED)
        same_trace = True
    else:
        return None
    random_flag = int(w3c[2], 16) & TraceFlags.RANDOM_TRACE_ID if same_trace and w3c else 0
    vendors = TraceState.from_header(tracestate) if same_trace and tracestate else TraceState()
    frozen = sentry_baggage if sentry_baggage.get("trace_id") == trace else None
    if frozen is None and sentry:
        frozen = {}  # the head has no context; the specification says not to make one up
    if frozen and sampled is not None and not _is_share(frozen.get("sample_rand")):
        filled = filled_sample_rand(trace, share_of(frozen.get("sample_rate")), sampled=sampled)
        frozen = {**frozen, "sample_rand": filled} if filled else frozen
    return SpanContext(
        trace_id=int(trace, 16),
        span_id=int(span, 16),
        is_remote=True,
        trace_flags=TraceFlags((TraceFlags.SAMPLED if sampled else 0) | random_flag),
        trace_state=SentryTraceState(
            list(vendors.items()), sampled=sampled, dynamic_sampling_context=frozen
        ),
    )


def _is_share(sample_rand: str | None) -> bool:
    share = share_of(sample_rand)
    return share is not None and share < 1.0
