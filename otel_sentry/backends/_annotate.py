"""
Say on OpenTelemetry's own spans what the backend ``sentry`` says in transactions.

Both take it from the same translation, scrubbed: Sentry shows the same whichever way a span came.
Names: https://getsentry.github.io/sentry-conventions/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanKind, Status

from otel_sentry.backends._noise import NoiseFilter
from otel_sentry.backends._scopes import ScrubbedScopes
from otel_sentry.trace_state import SentryTraceState, parse_ot, rate_of, share_of
from otel_sentry.transactions.event import end_time
from otel_sentry.transactions.translate import Translator, kind_of

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from otel_sentry.backends import Bridge
    from otel_sentry.transactions.translate import Words

_UNITS_OF_WORK = frozenset({SpanKind.SERVER, SpanKind.CONSUMER})

_OF_EVENTS = ("environment", "release")

# OTLP has fields of its own for these.
_SAID_BY_OTLP = ("otel.scope.name", "otel.scope.version", "sentry.kind", "sentry.status.message")


class Annotator:
    """Annotate and scrub finished spans; safe for one thread."""

    def __init__(self, bridge: Bridge) -> None:
        self.words = Translator(bridge.scrubber, NoiseFilter(bridge))
        self.identity = bridge.propagator.identity
        self._resource: tuple[dict[str, Any], Resource | None] = ({}, None)
        self._scopes = ScrubbedScopes(bridge.scrubber)

    def __call__(self, span: ReadableSpan) -> ReadableSpan | None:
        """Return an annotated copy without secrets; ``None``: the span is noise."""
        words = self.words(span)
        return None if words.is_noise else self.copy(span, words)

    def copy(self, span: ReadableSpan, words: Words) -> ReadableSpan:
        """Return a copy of ``span`` that says what ``words`` say."""
        message = words.fields["data"].get("sentry.status.message")
        return ReadableSpan(
            name=self.words.text(span.name, words.secrets),
            context=span.context,
            parent=span.parent,
            resource=self.resource(span.resource),
            attributes=self._attributes(span, words),
            events=[
                Event(
                    self.words.text(event.name, words.secrets),
                    self.words.attributes(event.attributes or {}, words.secrets),
                    event.timestamp,
                )
                for event in span.events
            ],
            links=[
                Link(link.context, self.words.attributes(link.attributes or {}, words.secrets))
                for link in span.links
            ],
            kind=kind_of(span),
            status=Status(span.status.status_code, message),
            start_time=span.start_time,
            end_time=end_time(span),
            instrumentation_scope=self._scopes(span.instrumentation_scope),
        )

    def resource(self, resource: Resource) -> Resource:
        """Return the resource without secrets; nearly always that of the last call."""
        attributes = self.words.resource(resource)
        known, scrubbed = self._resource
        if known is not attributes or scrubbed is None:
            scrubbed = Resource(attributes, self.words.text(resource.schema_url))
            self._resource = (attributes, scrubbed)
        return scrubbed

    def _attributes(self, span: ReadableSpan, words: Words) -> dict[str, Any]:
        fields = words.fields
        attributes = dict(fields["data"])
        identity = self.identity()  # as errors have it: the application may make its own client
        for key in _OF_EVENTS:
            if key in identity:
                attributes[f"sentry.{key}"] = identity[key]
        for key in _SAID_BY_OTLP:
            attributes.pop(key, None)
        attributes["sentry.op"] = fields["op"]
        attributes["sentry.origin"] = fields["origin"]
        attributes["sentry.status"] = fields["status"]
        if is_segment(span):
            attributes["sentry.segment.name"] = words.name
            attributes["sentry.segment.name.source"] = words.source
        else:
            attributes["sentry.description"] = fields["description"]
        rate = sample_rate(span.context)
        if rate is not None:
            # Sentry extrapolates by it, and reads no tracestate.
            attributes["sentry.client_sample_rate"] = rate
        return attributes


def is_segment(span: ReadableSpan) -> bool:
    """Return whether the span is what the backend ``sentry`` makes a transaction of."""
    parent = span.parent
    return parent is None or parent.is_remote or span.kind in _UNITS_OF_WORK


def sample_rate(span_context: SpanContext) -> float | None:
    """Return the rate that the span's trace was kept at; ``None``: it is not known."""
    state = span_context.trace_state
    if isinstance(state, SentryTraceState):
        if state.sample_rate is not None:
            return state.sample_rate
        frozen = state.dynamic_sampling_context
        if frozen and "sample_rate" in frozen:
            return share_of(frozen["sample_rate"])
    ot = state.get("ot") if state else None
    return rate_of(parse_ot(ot).get("th", "")) if ot else None
