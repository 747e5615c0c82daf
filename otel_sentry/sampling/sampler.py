"""The sampler: one decision for OpenTelemetry and Sentry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, TraceState, get_current_span

from otel_sentry._logging import logger, report
from otel_sentry.options import Options
from otel_sentry.sampling.callback import ask, sampling_context
from otel_sentry.sampling.unsampled import Unsampled
from otel_sentry.semantics import Meaning, infer
from otel_sentry.trace_state import (
    SentryTraceState,
    explicit_randomness,
    format_ot,
    implicit_randomness,
    parse_ot,
    randomness_of,
    rate_text,
    sample_rand_of,
    threshold,
    threshold_text,
    towards,
    with_ot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanContext
    from opentelemetry.util.types import Attributes

    from otel_sentry.sampling.rules import Rule

    LeftOut = Callable[[int, str, SpanKind, Attributes, TraceState], None]

_CELERY = "opentelemetry.instrumentation.celery"

_DROPPED_METHODS = ("HEAD", "OPTIONS")  # no set: an attribute may be a list
"""Probes and CORS preflights: dropped unless a rule or the callback names a rate."""

_DEFAULT_RATE = 0.1

# An enumeration's member costs more to look up than the comparison with it.
_DROP, _RECORD_AND_SAMPLE = Decision.DROP, Decision.RECORD_AND_SAMPLE
_CLIENT, _SERVER, _CONSUMER = SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CONSUMER
_PRODUCER = SpanKind.PRODUCER


class SentrySampler(Sampler):
    """
    Keep a trace or not; every span of it, here and in other services, follows.

    * A local parent decides for its children.
    * A remote parent decides, unless it left the decision open (Sentry's browser SDK may).
    * A CLIENT span without a parent starts no trace: broker polling, heartbeats, pool set-up.
      Neither does what Celery says to its broker while it publishes a message.
    * Else the callback, else the first rule that matches, else nothing where a request's method is
      HEAD or OPTIONS, else the rate. The trace's own randomness is compared with it as
      OpenTelemetry's consistent probability sampling specifies, and ``sample_rand`` is derived
      from the same number, so that Sentry decides the same.

    Args:
        rate: The base rate; one that is not between 0 and 1 warns, and 0.1 applies.
        rules: See :func:`otel_sentry.sampling.parse_rules`.
        infrastructure_spans: Whether plumbing is recorded, too.
        record_unsampled: Record what is not sampled, for a span processor that looks at the
            outcome; not where a rule or the callback says 0.
        options: Where the callback stands.
        unsampled: Counts the transactions that are left out.
        on_left_out: Is told of each local root that is not recorded: its trace id, name, kind,
            attributes and trace state. No span processor sees it.
    """

    def __init__(
        self,
        rate: float,
        rules: Iterable[Rule] = (),
        *,
        infrastructure_spans: bool = False,
        record_unsampled: bool = False,
        options: Options | None = None,
        unsampled: Unsampled | None = None,
        on_left_out: LeftOut = lambda *_: None,
    ) -> None:
        if not 0.0 <= rate <= 1.0:  # NaN is not either
            logger.warning(
                "SentrySampler: the rate %s is ignored, using %s instead. Give it a number between"
                " 0 and 1.",
                rate,
                _DEFAULT_RATE,
            )
            rate = _DEFAULT_RATE
        self._rate = rate
        self._threshold = threshold(rate)
        self._rules = tuple(rules)
        self._keep_plumbing = infrastructure_spans
        self._record_unsampled = record_unsampled
        self._options = options or Options()
        self._unsampled = unsampled or Unsampled()
        self._on_left_out = on_left_out
        self._description = f"SentrySampler{{rate={rate},rules={len(self._rules)}}}"

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Decide about one span; see the class."""
        parent_span = get_current_span(parent_context)
        parent = parent_span.get_span_context()
        if parent.is_valid:
            state = parent.trace_state
            if parent.is_remote and isinstance(state, SentryTraceState) and state.sampled is None:
                return self._decide(trace_id, name, kind, attributes, state)
            if parent.trace_flags.sampled:
                if kind is _CLIENT and self._talks_to_broker(parent_span):
                    return SamplingResult(_DROP, None, towards(state, attributes or {}))
                return SamplingResult(_RECORD_AND_SAMPLE, attributes, state)
            return self._follow(parent_span, parent, trace_id, name, kind, attributes)
        if kind is _CLIENT and not self._keep_plumbing:
            undecided = SentryTraceState(sampled=None)
            return SamplingResult(_DROP, None, towards(undecided, attributes or {}))
        return self._decide(trace_id, name, kind, attributes, _NO_STATE)

    def _follow(
        self,
        parent_span: Span,
        parent: SpanContext,
        trace_id: int,
        name: str,
        kind: SpanKind | None,
        attributes: Attributes,
    ) -> SamplingResult:
        """Follow a parent that is not sampled."""
        state = parent.trace_state
        if self._record_unsampled and self._may_matter(parent_span, parent, name, kind, attributes):
            return SamplingResult(Decision.RECORD_ONLY, attributes, state)
        if kind is _CLIENT and attributes:
            state = towards(state, attributes)
        # SERVER and CONSUMER spans are transactions wherever their parent lives.
        if kind is _SERVER or kind is _CONSUMER or parent.is_remote:
            self._leave_out(trace_id, name, kind or SpanKind.INTERNAL, attributes, state)
        return SamplingResult(_DROP, None, state)

    def _leave_out(
        self, trace_id: int, name: str, kind: SpanKind, attributes: Attributes, state: TraceState
    ) -> None:
        self._unsampled.add()
        try:
            self._on_left_out(trace_id, name, kind, attributes, state)
        except Exception as error:  # noqa: BLE001 - raised here, it would end the request
            report("leaving a trace out", error)

    def _may_matter(
        self,
        parent_span: Span,
        parent: SpanContext,
        name: str,
        kind: SpanKind | None,
        attributes: Attributes,
    ) -> bool:
        """Return whether a span is recorded for its outcome, below a parent that is not sampled."""
        if kind is _CLIENT and self._talks_to_broker(parent_span):
            return False
        if not parent.is_remote:
            return parent_span.is_recording()
        context = getattr(parent.trace_state, "dynamic_sampling_context", None)
        return self._chosen_rate(name, kind or SpanKind.INTERNAL, attributes, context) != 0

    def _talks_to_broker(self, parent: Any) -> bool:
        if self._keep_plumbing or getattr(parent, "kind", None) is not _PRODUCER:
            return False
        scope = getattr(parent, "instrumentation_scope", None)
        return scope is not None and scope.name == _CELERY

    def _decide(
        self,
        trace_id: int,
        name: str,
        kind: SpanKind | None,
        attributes: Attributes,
        incoming: TraceState,
    ) -> SamplingResult:
        kind = kind or SpanKind.INTERNAL
        # A caller that defers and sent none leaves it to us, too, as to sentry-sdk: else nobody
        # would be told the rate.
        context = getattr(incoming, "dynamic_sampling_context", None) or None
        chosen = self._chosen_rate(name, kind, attributes, context)
        rate = self._rate if chosen is None else chosen
        ot = parse_ot(incoming.get("ot", "")) if incoming else {}
        explicit = explicit_randomness(ot)
        if explicit is None and context:
            explicit = randomness_of(context.get("sample_rand", ""))
        random_bits = implicit_randomness(trace_id) if explicit is None else explicit
        rejection = self._threshold if chosen is None else threshold(rate)
        sampled = random_bits >= rejection
        sample_rand = sample_rand_of(random_bits)
        if context:
            # Sentry's own SDKs, too, write their rate into the context of a client that defers.
            context = {
                **context,
                "sampled": "true" if sampled else "false",
                "sample_rate": rate_text(rate),
                "sample_rand": sample_rand,
            }
        entries: list[tuple[str, str]] = []
        if sampled or incoming or explicit is not None:
            th = threshold_text(rejection) if sampled else None
            entries = with_ot(list(incoming.items()), format_ot(ot, th, explicit))
        state: TraceState = SentryTraceState(
            entries,
            sampled=sampled,
            sample_rate=rate,
            sample_rand=sample_rand,
            name_transaction=partial(_transaction_name, name, kind, attributes),
            dynamic_sampling_context=context,
        )
        if sampled:
            return SamplingResult(_RECORD_AND_SAMPLE, attributes, state)
        if self._record_unsampled and chosen != 0:
            return SamplingResult(Decision.RECORD_ONLY, attributes, state)
        if kind is _CLIENT and attributes:
            state = towards(state, attributes)
        self._leave_out(trace_id, name, kind, attributes, state)
        return SamplingResult(_DROP, None, state)

    def _chosen_rate(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        context: dict[str, str] | None,
    ) -> float | None:
        """Return the rate that someone chose for this very trace; ``None``: the base rate's."""
        try:
            if self._options.traces_sampler is not None or self._rules:
                meaning = _meaning(name, kind, attributes)
                rate = self._asked_rate(meaning, kind, attributes, context)
                if rate is None:
                    rate = self._ruled_rate(meaning.candidates)
                if rate is not None:
                    return rate
            if kind is _SERVER and attributes:
                method = attributes.get("http.request.method") or attributes.get("http.method")
                return 0.0 if method in _DROPPED_METHODS else None
        except Exception as error:  # noqa: BLE001 - raised here, it would end the request
            report("choosing a trace's rate", error)
        return None

    def _asked_rate(
        self,
        meaning: Meaning,
        kind: SpanKind,
        attributes: Attributes,
        context: dict[str, str] | None,
    ) -> float | None:
        callback = self._options.traces_sampler
        if callback is None:
            return None
        return ask(callback, sampling_context(meaning, kind, attributes, context))

    def _ruled_rate(self, candidates: Sequence[str]) -> float | None:
        for rule in self._rules:
            if any(rule.pattern.match(candidate) for candidate in candidates):
                return rule.rate
        return None

    def get_description(self) -> str:
        """Return ``SentrySampler{rate=0.1,rules=0}``."""
        return self._description


_NO_STATE = TraceState()


def _transaction_name(name: str, kind: SpanKind, attributes: Attributes) -> str | None:
    meaning = _meaning(name, kind, attributes)
    return None if meaning.source == "url" else meaning.name


def _meaning(name: str, kind: SpanKind, attributes: Attributes) -> Meaning:
    """Infer what the span is; what an application wrote into attributes must not stop it."""
    try:
        return infer(name, kind, attributes or {})
    except Exception as error:  # noqa: BLE001 - raised here, it would end the request
        report("reading a span's attributes", error)
        return Meaning(op="", description=name, name=name, source="url")
