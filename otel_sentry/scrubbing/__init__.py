"""
Remove secrets and personal data: one rule set, applied last on every road out of the process.

``_rules`` and ``_shapes`` are the tables of what is removed; :class:`Scrubber` applies them. It is
idempotent, takes linear time on any input and never raises: what it cannot look into is removed.
"""

from __future__ import annotations

from otel_sentry.scrubbing._marks import FILTERED, merged, remarks
from otel_sentry.scrubbing._names import Names
from otel_sentry.scrubbing._rules import (
    HARMLESS_ENDINGS,
    PERSONAL_KEYS,
    SENSITIVE_PHRASES,
    SENSITIVE_WORDS,
)
from otel_sentry.scrubbing._scrubber import Scrubber

__all__ = [
    "FILTERED",
    "HARMLESS_ENDINGS",
    "PERSONAL_KEYS",
    "SENSITIVE_PHRASES",
    "SENSITIVE_WORDS",
    "Names",
    "Scrubber",
    "merged",
    "remarks",
]
