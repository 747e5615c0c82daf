"""Find the rate of a trace that another sampler than ours decided about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opentelemetry.trace import get_tracer_provider

from otel_sentry.trace_state import (
    explicit_randomness,
    implicit_randomness,
    parse_ot,
    rate_of,
    rate_text,
    sample_rand_of,
)

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

# As the samplers of OpenTelemetry's SDK describe themselves
# (https://opentelemetry.io/docs/specs/otel/trace/sdk/#getdescription).
_RATIO = re.compile(r"(?:ParentBased\{root:)?TraceIdRatioBased\{([\d.e+-]+)\}")
_CONSTANT = re.compile(r"(?:ParentBased\{root:)?Always(On|Off)Sampler\b")


def probability_of(
    span_context: SpanContext, *, sampled: bool, here: bool
) -> tuple[float, str] | None:
    """
    Return the rate that decided about a trace, and a ``sample_rand`` that agrees with it.

    ``None`` where neither its tracestate nor this process's sampler tells, or what they tell does
    not agree with the decision: no rate is better than a wrong one.

    Args:
        span_context: Of any span of the trace.
        sampled: The trace's decision; a span of a kept trace may itself be dropped.
        here: Whether this process decided, so that its sampler knows the rate.
    """
    found = _of_tracestate(span_context)
    if found is None and here:
        found = _of_sampler(span_context.trace_id)
    if found is None:
        return None
    rate, sample_rand = found
    # As they are sent: a rate below a millionth is sent as 0.
    return found if (float(sample_rand) < float(rate_text(rate))) is sampled else None


def _of_tracestate(span_context: SpanContext) -> tuple[float, str] | None:
    ot = parse_ot(span_context.trace_state.get("ot", ""))
    rate = rate_of(ot.get("th", ""))
    if rate is None:
        return None
    explicit = explicit_randomness(ot)
    random_bits = implicit_randomness(span_context.trace_id) if explicit is None else explicit
    return rate, sample_rand_of(random_bits)


def _of_sampler(trace_id: int) -> tuple[float, str] | None:
    sampler = getattr(get_tracer_provider(), "sampler", None)
    try:
        description = sampler.get_description()  # type: ignore[union-attr]
        constant = _CONSTANT.match(description)
        if constant:
            return float(constant[1] == "On"), sample_rand_of(implicit_randomness(trace_id))
        ratio = _RATIO.match(description)
        if ratio is None:
            return None
        # It keeps a trace where the last 64 bits of its id are below 2^64 times the ratio.
        millionths = ((trace_id & (1 << 64) - 1) * 1_000_000) >> 64
        return float(ratio[1]), f"0.{millionths:06d}"
    except Exception:  # noqa: BLE001 - a sampler of unknown make
        return None
