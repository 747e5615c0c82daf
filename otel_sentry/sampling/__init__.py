"""Decide, once per trace, for OpenTelemetry and Sentry alike."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from otel_sentry.sampling.rules import Rule, parse_rules
from otel_sentry.sampling.sampler import SentrySampler
from otel_sentry.settings import Settings
from otel_sentry.variables import VARIABLES, read

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

    from otel_sentry.options import Options
    from otel_sentry.sampling.sampler import LeftOut
    from otel_sentry.sampling.unsampled import Unsampled

__all__ = [
    "Rule",
    "SentrySampler",
    "build_sampler",
    "parse_rules",
    "sentry_sampler",
    "with_argument",
]


def sentry_sampler(argument: str | None = None) -> Sampler:
    """
    Build the sampler for ``OTEL_TRACES_SAMPLER=sentry``, under any distribution.

    Never raises: OpenTelemetry would fall back to sampling everything. ``argument`` is
    ``OTEL_TRACES_SAMPLER_ARG``; it wins over ``SENTRY_TRACES_SAMPLE_RATE``.
    """
    # Spans that are recorded and not sampled are of use to our own span processor alone.
    settings = replace(Settings.from_env(os.environ), keep_errors=False)
    return build_sampler(with_argument(settings, argument))


def with_argument(settings: Settings, argument: str | None) -> Settings:
    """Return the settings with the rate of ``OTEL_TRACES_SAMPLER_ARG``, where it is a good one."""
    rate = next(one for one in VARIABLES if one.field == "traces_sample_rate")
    rate = replace(rate, name="OTEL_TRACES_SAMPLER_ARG", default=settings.traces_sample_rate)
    return replace(settings, traces_sample_rate=read(rate, {rate.name: argument or ""}))


def build_sampler(
    settings: Settings,
    options: Options | None = None,
    unsampled: Unsampled | None = None,
    on_left_out: LeftOut = lambda *_: None,
) -> SentrySampler:
    """Build the sampler that the settings describe."""
    return SentrySampler(
        settings.traces_sample_rate,
        parse_rules(settings.sampling_rules),
        infrastructure_spans=settings.infrastructure_spans,
        record_unsampled=settings.keep_errors,
        options=options,
        unsampled=unsampled,
        on_left_out=on_left_out,
    )
