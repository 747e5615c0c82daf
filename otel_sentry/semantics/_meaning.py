"""What Sentry calls a span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Meaning(NamedTuple):
    """One span in Sentry's words."""

    op: str
    """Span operation, e.g. ``http.server``."""

    description: str
    """What the span shows in the waterfall."""

    name: str
    """Name of the transaction, were the span its root."""

    source: str
    """``transaction_info.source`` of that name: route, url, task, custom."""

    aliases: tuple[str, ...] = ()
    """What else a sampling rule may call it."""

    @property
    def candidates(self) -> tuple[str, ...]:
        """Return everything that a sampling rule is compared with."""
        return (self.name, *self.aliases)


def first(attributes: Mapping[str, Any], *keys: str) -> Any:
    """Return the value of the first key that is there and not empty; new names come first."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and value != "":
            return value
    return None
