"""
Continue traces from and to every service, whatever SDK is at the other end.

The launcher does not start the application if this module fails to import: it imports the standard
library and OpenTelemetry's API alone (an import contract and a subprocess test say so).
"""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

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
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from otel_sentry.settings import Settings
from otel_sentry.trace_state import SentryTraceState, sampled_flag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.context import Context

# https://develop.sentry.dev/sdk/foundations/trace-propagation/#header-sentry-trace
_SENTRY_TRACE = re.compile(r"[ \t]*([0-9a-f]{32})-([0-9a-f]{16})(?:-([01]))?[ \t]*")

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

# https://www.w3.org/TR/baggage/#limits
_MAX_BAGGAGE_BYTES = 8192
_MAX_BAGGAGE_ENTRIES = 64

_SENTRY_PREFIX = "sentry-"


class SentryPropagator(TextMapPropagator):
    """
    Read and write ``traceparent``, ``tracestate``, ``sentry-trace`` and one ``baggage`` header.

    An incoming dynamic sampling context is frozen and passed on; a trace that starts here gets
    one, frozen when it is first sent.

    Args:
        settings: Where key, release and environment of the dynamic sampling context come from;
            default: the environment variables.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings.from_env(os.environ)
        self._identity = _identity(settings)

    @property
    def fields(self) -> set[str]:
        """Return the headers that :meth:`inject` sets."""
        return {"traceparent", "tracestate", "sentry-trace", "baggage"}

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """Return ``context`` with the trace and the baggage that ``carrier`` holds."""
        context = get_current() if context is None else context
        entries = list(_parse_baggage(getter.get(carrier, "baggage") or ()))
        for key, value in entries:
            if not key.startswith(_SENTRY_PREFIX):
                context = baggage.set_baggage(key, value, context)
        remote = _remote_span_context(
            _first(getter.get(carrier, "sentry-trace")),
            _first(getter.get(carrier, "traceparent")),
            getter.get(carrier, "tracestate") or [],
            {
                key[len(_SENTRY_PREFIX) :]: value
                for key, value in entries
                if key.startswith(_SENTRY_PREFIX)
            },
        )
        if remote is None or self._is_foreign(remote):
            return context
        return set_span_in_context(NonRecordingSpan(remote), context)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Write the current span's trace, and the baggage, into ``carrier``."""
        span_context = get_current_span(context).get_span_context()
        entries = [
            (key, str(value))
            for key, value in baggage.get_all(context).items()
            if not key.startswith(_SENTRY_PREFIX)
        ]
        if span_context.is_valid:
            trace, span = f"{span_context.trace_id:032x}", f"{span_context.span_id:016x}"
            sampled = sampled_flag(span_context)
            flag = "" if sampled is None else "-1" if sampled else "-0"
            setter.set(carrier, "sentry-trace", f"{trace}-{span}{flag}")
            if sampled is not None:
                # W3C has no "undecided": flag 00 would make the receiver drop the trace.
                # The trace's decision, as above: a span of a kept trace may itself be dropped.
                flags = span_context.trace_flags & ~TraceFlags.SAMPLED | sampled
                setter.set(carrier, "traceparent", f"00-{trace}-{span}-{flags:02x}")
                if span_context.trace_state:
                    setter.set(carrier, "tracestate", span_context.trace_state.to_header())
            entries += [
                (_SENTRY_PREFIX + key, value)
                for key, value in self.dynamic_sampling_context(span_context).items()
            ]
        header = _format_baggage(entries)
        if header:
            setter.set(carrier, "baggage", header)

    def _is_foreign(self, remote: SpanContext) -> bool:
        """Return whether the trace comes from another Sentry organisation."""
        context = getattr(remote.trace_state, "dynamic_sampling_context", None) or {}
        ours, theirs = self._identity.get("org_id"), context.get("org_id")
        return bool(ours and theirs and ours != theirs)

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
        if not isinstance(state, SentryTraceState):
            return {}
        if state.dynamic_sampling_context is None:
            context = {"trace_id": f"{span_context.trace_id:032x}", **self._identity}
            if state.sampled is not None:
                context["sampled"] = "true" if state.sampled else "false"
            if state.sample_rate is not None:
                context["sample_rate"] = f"{round(state.sample_rate, 6):g}"
            if state.sample_rand is not None:
                context["sample_rand"] = state.sample_rand
            if transaction is None and state.name_transaction is not None:
                transaction = state.name_transaction()
            if transaction:
                context["transaction"] = transaction
            state.dynamic_sampling_context = context
        return state.dynamic_sampling_context


def _identity(settings: Settings) -> dict[str, str]:
    url = urlsplit(settings.dsn)
    organisation = re.match(r"o(\d+)\.", url.hostname or "")
    parts = {
        "public_key": url.username,
        "org_id": organisation and organisation[1],
        "release": settings.release,
        "environment": settings.environment,
    }
    return {key: value for key, value in parts.items() if value}


def _first(values: list[str] | None) -> str:
    return values[0] if values else ""


def _remote_span_context(
    sentry_trace: str, traceparent: str, tracestate: list[str], sentry_baggage: dict[str, str]
) -> SpanContext | None:
    """
    Read the two trace headers together.

    With the same trace id in both, the flag of ``sentry-trace`` decides, and an absent flag means
    "decide here": a Sentry client that defers sends ``traceparent ...-00`` beside it.
    """
    sentry = _parse_sentry_trace(sentry_trace)
    w3c = _parse_traceparent(traceparent)
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
    return SpanContext(
        trace_id=int(trace, 16),
        span_id=int(span, 16),
        is_remote=True,
        trace_flags=TraceFlags((TraceFlags.SAMPLED if sampled else 0) | random_flag),
        trace_state=SentryTraceState(
            list(vendors.items()), sampled=sampled, dynamic_sampling_context=frozen
        ),
    )


def _parse_sentry_trace(header: str) -> tuple[str, str, str | None] | None:
    match = _SENTRY_TRACE.fullmatch(header)
    if not match or not int(match[1], 16) or not int(match[2], 16):
        return None
    return match[1], match[2], match[3]


def _parse_traceparent(header: str) -> tuple[str, str, str] | None:
    match = _TRACEPARENT.fullmatch(header.rstrip(" \t"))
    if not match:
        return None
    version, trace, span, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace, 16) or not int(span, 16):
        return None
    return trace, span, flags


def _parse_baggage(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield the entries of all ``baggage`` lines, without properties, within W3C's limits."""
    size = 0
    members = (member for line in lines for member in line.split(","))
    for member in islice(members, _MAX_BAGGAGE_ENTRIES):
        size += len(member) + 1
        if size > _MAX_BAGGAGE_BYTES + 1:
            return
        key, found, value = member.partition(";")[0].partition("=")
        key = key.strip()
        if found and key:
            yield unquote(key), unquote(value.strip())


def _format_baggage(entries: Iterable[tuple[str, str]]) -> str:
    """Write one ``baggage`` header; entries that W3C's limits leave no room for are left out."""
    members: list[str] = []
    left = _MAX_BAGGAGE_BYTES + 1  # the last entry needs no comma
    for key, value in entries:
        # "replace": a lone surrogate, which no header can hold, must not stop a request.
        name, text = quote(key, safe="", errors="replace"), quote(value, safe="", errors="replace")
        member = f"{name}={text}"
        if len(member) < left and len(members) < _MAX_BAGGAGE_ENTRIES:
            left -= len(member) + 1
            members.append(member)
    return ",".join(members)
