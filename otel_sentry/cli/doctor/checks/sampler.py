"""The sampler: how many traces are recorded?"""

from __future__ import annotations

import logging
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, error, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

# Source: opentelemetry.sdk.trace.sampling of OpenTelemetry's SDK.
_STANDARD = (
    "always_off",
    "always_on",
    "parentbased_always_off",
    "parentbased_always_on",
    "parentbased_traceidratio",
    "traceidratio",
)
_FALLS_BACK = "OpenTelemetry then records 100 % of the traces, with no more than a log line"


def sampler(situation: Situation) -> Iterator[Finding]:
    """Is the sampler there, and what is its rate?"""
    # Read as OpenTelemetry does: the name as it is.
    name = situation.settings.traces_sampler
    argument = situation.environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if name == "sentry":
        yield from _ours(situation, argument)
        return
    others = [one.name for one in entry_points(group="opentelemetry_traces_sampler")]
    known = sorted({*_STANDARD, *others})
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? Else " if close else ""
        yield error(
            f"OTEL_TRACES_SAMPLER={name} is unknown: {_FALLS_BACK}",
            f"{hint}unset OTEL_TRACES_SAMPLER",
        )
        return
    if name.endswith("traceidratio") and not _is_rate(argument):
        yield error(
            f"OTEL_TRACES_SAMPLER={name} without a rate between 0 and 1 in"
            f" OTEL_TRACES_SAMPLER_ARG ({argument or 'unset'}): {_FALLS_BACK}",
            "unset OTEL_TRACES_SAMPLER, and set SENTRY_TRACES_SAMPLE_RATE",
        )
        return
    shown = f"{name}{f' at {argument}' if argument else ''}"
    yield warning(
        f"OTEL_TRACES_SAMPLER={shown} decides: SENTRY_TRACES_SAMPLE_RATE and the sampling rules do"
        " not apply, and Sentry does not learn the rate",
        "unset OTEL_TRACES_SAMPLER",
    )


def _ours(situation: Situation, argument: str) -> Iterator[Finding]:
    settings = situation.settings
    rate = settings.traces_sample_rate
    if argument:
        if _is_rate(argument):
            rate = float(argument)
        else:
            yield error(
                f"OTEL_TRACES_SAMPLER_ARG={argument} is ignored: {rate} applies",
                "unset it, and set SENTRY_TRACES_SAMPLE_RATE to a number between 0 and 1",
            )
    rules, ignored = _rules(settings.sampling_rules)
    for sentence in ignored:
        yield error(sentence, "write each rule as 'GET /path=0.5', separated by ';'")
    if rate == 0 and not rules:
        yield warning(
            "SENTRY_TRACES_SAMPLE_RATE=0: no trace starts here", "set it to 1 to see each of them"
        )
    else:
        more = f", after {len(rules)} sampling rule{'s' * (len(rules) != 1)}" if rules else ""
        yield ok(f"{rate * 100:g} % of the traces are recorded{more}")


def _rules(text: str) -> tuple[tuple[object, ...], list[str]]:
    """Return the rules, and what their parser warns of."""
    from otel_sentry.sampling.rules import parse_rules

    said: list[str] = []

    class Keep(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            said.append(record.getMessage().partition(". ")[0])
            return False

    logger, keep = logging.getLogger("otel_sentry"), Keep()
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    logger.filters.insert(0, keep)
    try:
        return parse_rules(text), said
    finally:
        logger.filters.remove(keep)
        logging.disable(disabled)


def _is_rate(text: str) -> bool:
    try:
        return 0.0 <= float(text) <= 1.0
    except ValueError:
        return False
