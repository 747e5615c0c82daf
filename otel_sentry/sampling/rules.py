"""Read ``OTEL_SENTRY_SAMPLING_RULES``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate

from otel_sentry._logging import logger


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
