"""Decide, once per trace, for OpenTelemetry and Sentry alike."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, TraceState, get_current_span

from otel_sentry._logging import logger
from otel_sentry.semantics import infer
from otel_sentry.settings import Settings
from otel_sentry.trace_state import (
    SentryTraceState,
    parse_ot,
    randomness,
    randomness_of,
    sample_rand_of,
    threshold,
    threshold_text,
    with_ot,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link
    from opentelemetry.util.types import Attributes


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
        pattern, _, rate_text = part.rpartition("=")
        try:
            rate = float(rate_text)
        except ValueError:
            rate = -1.0
        if not pattern.strip() or not 0.0 <= rate <= 1.0:
            logger.warning(
                "OTEL_SENTRY_SAMPLING_RULES: the rule %r is ignored. Write it as"
                " 'GET /path=0.5' with a rate between 0 and 1.",
                part,
            )
            continue
        rules.append(Rule(re.compile(translate(pattern.strip())), rate))
    return tuple(rules)


class SentrySampler(Sampler):
    """
    Keep a trace or not; every span of it, here and in other services, follows.

    * A local parent decides for its children.
    * A remote parent decides, unless it left the decision open (Sentry's browser SDK may).
    * A CLIENT span without a parent starts no trace: broker polling, heartbeats, pool set-up.
    * Else the first rule that matches, else the rate; the trace's own randomness is compared
      with it as OpenTelemetry's consistent probability sampling specifies, and
      ``sample_rand`` is derived from the same number, so that Sentry decides the same.
    """

    def __init__(self, rate: float, rules: Iterable[Rule] = ()) -> None:
        self._rate = rate
        self._rules = tuple(rules)
        self._description = f"SentrySampler{{rate={rate},rules={len(self._rules)}}}"

    def should_sample(  # noqa: PLR0913 - the signature is OpenTelemetry's
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
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            state = parent.trace_state
            open_decision = (
                parent.is_remote and isinstance(state, SentryTraceState) and state.sampled is None
            )
            if not open_decision:
                sampled = parent.trace_flags.sampled
                return SamplingResult(
                    Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP,
                    attributes if sampled else None,
                    state,
                )
            return self._decide(trace_id, name, kind, attributes, state)
        if kind is SpanKind.CLIENT:
            return SamplingResult(Decision.DROP, None, SentryTraceState(sampled=None))
        return self._decide(trace_id, name, kind, attributes, TraceState())

    def _decide(
        self,
        trace_id: int,
        name: str,
        kind: SpanKind | None,
        attributes: Attributes,
        incoming: TraceState,
    ) -> SamplingResult:
        meaning = infer(name, kind or SpanKind.INTERNAL, attributes or {})
        rate = self._rate_for(meaning.candidates)
        context = getattr(incoming, "dynamic_sampling_context", None)
        random_bits = randomness(trace_id, incoming)
        ot = parse_ot(incoming.get("ot", ""))
        if context and "rv" not in ot:
            shared = randomness_of(context.get("sample_rand", ""))
            if shared is not None:
                random_bits = shared
                ot["rv"] = f"{shared:014x}"
        rejection = threshold(rate)
        sampled = random_bits >= rejection
        ot.pop("th", None)
        entries = [("th", threshold_text(rejection))] if sampled else []
        text = ";".join(f"{key}:{value}" for key, value in [*entries, *ot.items()])
        state = SentryTraceState(
            with_ot(list(incoming.items()), text),
            sampled=sampled,
            sample_rate=rate,
            sample_rand=sample_rand_of(random_bits),
            transaction=None if meaning.source == "url" else meaning.name,
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


def sentry_sampler(argument: str | None = None) -> Sampler:
    """
    Build the sampler for ``OTEL_TRACES_SAMPLER=sentry``, under any distribution.

    Never raises: OpenTelemetry would fall back to sampling everything. ``argument`` is
    ``OTEL_TRACES_SAMPLER_ARG``; it wins over ``SENTRY_TRACES_SAMPLE_RATE``.
    """
    environ = dict(os.environ)
    if argument and argument.strip():
        environ["SENTRY_TRACES_SAMPLE_RATE"] = argument
    return build_sampler(Settings.from_env(environ))


def build_sampler(settings: Settings) -> SentrySampler:
    """Build the sampler that the settings describe."""
    return SentrySampler(settings.traces_sample_rate, parse_rules(settings.sampling_rules))
