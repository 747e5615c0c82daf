"""Decide, once per trace, for OpenTelemetry and Sentry alike."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, TraceState, get_current_span

from otel_sentry._logging import logger, report
from otel_sentry.semantics import Meaning, infer
from otel_sentry.settings import Settings
from otel_sentry.trace_state import (
    SentryTraceState,
    explicit_randomness,
    format_ot,
    implicit_randomness,
    parse_ot,
    randomness_of,
    sample_rand_of,
    threshold,
    threshold_text,
    with_ot,
)
from otel_sentry.variables import VARIABLES, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link
    from opentelemetry.util.types import Attributes


_CELERY = "opentelemetry.instrumentation.celery"


@dataclass(frozen=True)
class Rule:
    """A rate for the traces whose first span matches a pattern."""

    pattern: re.Pattern[str]
    rate: float


def parse_rules(text: str) -> tuple[Rule, ...]:
    """
    Read ``GET /health=0; POST /pay=1; celery sync_*=0.5``.

    A pattern (``*`` and ``?`` as in a shell) is compared with the route or path after the method,
    or with ``celery`` and the task's name. A part that is no rule warns and is left out.
    """
    rules = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        rule = _parse_rule(part)
        if rule is None:
            logger.warning(
                "OTEL_SENTRY_SAMPLING_RULES: the rule %r is ignored. Write it as"
                " 'GET /path=0.5' with a rate between 0 and 1.",
                part,
            )
        else:
            rules.append(rule)
    return tuple(rules)


def _parse_rule(part: str) -> Rule | None:
    pattern, _, rate_text = part.rpartition("=")
    try:
        rate = float(rate_text)
        compiled = re.compile(translate(pattern.strip()))
    except (ValueError, re.error):  # Python 3.10 cannot compile [z-a]
        return None
    return Rule(compiled, rate) if pattern.strip() and 0.0 <= rate <= 1.0 else None


class SentrySampler(Sampler):
    """
    Keep a trace or not; every span of it, here and in other services, follows.

    * A local parent decides for its children.
    * A remote parent decides, unless it left the decision open (Sentry's browser SDK may).
    * A CLIENT span without a parent starts no trace: broker polling, heartbeats, pool set-up.
      Neither does what Celery says to its broker while it publishes a message.
    * Else the first rule that matches, else the rate; the trace's own randomness is compared
      with it as OpenTelemetry's consistent probability sampling specifies, and
      ``sample_rand`` is derived from the same number, so that Sentry decides the same.
    """

    def __init__(
        self, rate: float, rules: Iterable[Rule] = (), *, infrastructure_spans: bool = False
    ) -> None:
        self._rate = rate
        self._rules = tuple(rules)
        self._keep_plumbing = infrastructure_spans
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
            open_decision = (
                parent.is_remote and isinstance(state, SentryTraceState) and state.sampled is None
            )
            if not open_decision:
                sampled = parent.trace_flags.sampled and not (
                    kind is SpanKind.CLIENT and self._talks_to_broker(parent_span)
                )
                return SamplingResult(
                    Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP,
                    attributes if sampled else None,
                    state,
                )
            return self._decide(trace_id, name, kind, attributes, state)
        if kind is SpanKind.CLIENT and not self._keep_plumbing:
            return SamplingResult(Decision.DROP, None, SentryTraceState(sampled=None))
        return self._decide(trace_id, name, kind, attributes, TraceState())

    def _talks_to_broker(self, parent: Any) -> bool:
        if self._keep_plumbing or getattr(parent, "kind", None) is not SpanKind.PRODUCER:
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
        rate = self._rate
        if self._rules:
            rate = self._rate_for(_meaning(name, kind, attributes).candidates)
        context = getattr(incoming, "dynamic_sampling_context", None)
        ot = parse_ot(incoming.get("ot", ""))
        explicit = explicit_randomness(ot)
        if explicit is None and context:
            explicit = randomness_of(context.get("sample_rand", ""))
        random_bits = implicit_randomness(trace_id) if explicit is None else explicit
        rejection = threshold(rate)
        sampled = random_bits >= rejection
        state = SentryTraceState(
            with_ot(
                list(incoming.items()),
                format_ot(ot, threshold_text(rejection) if sampled else None, explicit),
            ),
            sampled=sampled,
            sample_rate=rate,
            sample_rand=sample_rand_of(random_bits),
            name_transaction=partial(_transaction_name, name, kind, attributes),
            dynamic_sampling_context=context,
        )
        if sampled:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, None, state)

    def _rate_for(self, candidates: Sequence[str]) -> float:
        for rule in self._rules:
            if any(rule.pattern.match(candidate) for candidate in candidates):
                return rule.rate
        return self._rate

    def get_description(self) -> str:
        """Return ``SentrySampler{rate=0.1,rules=0}``."""
        return self._description


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


def sentry_sampler(argument: str | None = None) -> Sampler:
    """
    Build the sampler for ``OTEL_TRACES_SAMPLER=sentry``, under any distribution.

    Never raises: OpenTelemetry would fall back to sampling everything. ``argument`` is
    ``OTEL_TRACES_SAMPLER_ARG``; it wins over ``SENTRY_TRACES_SAMPLE_RATE``.
    """
    settings = Settings.from_env(os.environ)
    rate = next(one for one in VARIABLES if one.field == "traces_sample_rate")
    rate = replace(rate, name="OTEL_TRACES_SAMPLER_ARG", default=settings.traces_sample_rate)
    return build_sampler(
        replace(settings, traces_sample_rate=read(rate, {rate.name: argument or ""}))
    )


def build_sampler(settings: Settings) -> SentrySampler:
    """Build the sampler that the settings describe."""
    return SentrySampler(
        settings.traces_sample_rate,
        parse_rules(settings.sampling_rules),
        infrastructure_spans=settings.infrastructure_spans,
    )
