"""What Sentry calls a span, and how its attributes are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

# OpenTelemetry's integers have 64 bits; no infinity and no NaN is between these.
_LIMIT = 2**63

_MAX_DIGITS = 18  # Python refuses to read numbers of thousands of digits

# What a function as a service says of its run; contrib's Lambda knows the trigger of few events.
FUNCTION = ("faas.trigger", "faas.invocation_id", "faas.execution")


class Meaning(NamedTuple):
    """One span in Sentry's words."""

    op: str
    """Span operation, e.g. ``http.server``."""

    description: str
    """What the span shows in the waterfall."""

    name: str
    """Name of the transaction, were the span its root."""

    source: str
    """``transaction_info.source`` of that name: route, url, task, component, custom."""

    aliases: tuple[str, ...] = ()
    """What else a sampling rule may call it."""

    @property
    def candidates(self) -> tuple[str, ...]:
        """Return everything that a sampling rule is compared with."""
        return (self.name, *self.aliases)


def text(attributes: Mapping[str, Any], *keys: str) -> str:
    """
    Return the first value that is a text and not empty, else the empty text; new names come first.

    An application may have set any attribute to anything: what is no text is not there.
    """
    for key in keys:
        value = attributes.get(key)
        if value and isinstance(value, str):
            return value
    return ""


def whole(attributes: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first value that is a whole number, or the text of one; new names come first."""
    for key in keys:
        value = attributes.get(key)
        if value is None:
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if -_LIMIT < value < _LIMIT and value == int(value):
                return int(value)
        elif isinstance(value, str) and len(value) <= _MAX_DIGITS and value.isdecimal():
            return int(value)
    return None


def measured(attributes: Mapping[str, Any], key: str) -> float | None:
    """Return a number that is neither infinite nor NaN, for which JSON has no words."""
    value = attributes.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if -_LIMIT < value < _LIMIT else None
    return None
