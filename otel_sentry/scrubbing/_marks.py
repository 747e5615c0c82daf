"""Say in the place of a removed value which rule removed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

FILTERED = "[Filtered]"
"""What stands in the place of a removed value; the marker that Sentry's own scrubber uses."""


_UNMARKED = frozenset({str, int, float, bool, type(None)})


class Removed(str):
    """
    A text that was removed, or that something was removed from, and the names of the rules.

    Whoever writes it (JSON, OTLP) sees an ordinary text.
    """

    __slots__ = ("rules",)
    rules: tuple[str, ...]

    def __new__(cls, text: str = FILTERED, *rules: str) -> Self:
        """Make one of the text that is left."""
        made = super().__new__(cls, text)
        made.rules = rules
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with the rules."""
        return type(self), (str(self), *self.rules)


def remarks(value: Any) -> dict[str, Any]:
    """
    Return the ``_meta`` of a scrubbed value: which rules touched it, and where; empty if none did.

    Source: https://develop.sentry.dev/sdk/foundations/transport/event-payloads/#meta-attributes
    """
    kind = type(value)
    if kind is Removed:
        return {"": {"rem": [[rule, "s"] for rule in value.rules]}}
    if kind is dict:
        keys: Any = value.keys()
        items: Any = value.values()
    elif kind is list:
        keys = range(len(value))
        items = value
    else:
        return {}
    if _UNMARKED.issuperset(map(type, items)):  # nearly always, and much cheaper than the loop
        return {}
    return {
        str(key): remark
        for key, item in zip(keys, items, strict=True)
        if type(item) not in _UNMARKED and (remark := remarks(item))
    }


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return both ``_meta`` in one; where both remark on a value, the second wins."""
    both = dict(first)
    for key, item in second.items():
        before = both.get(key)
        is_inner = isinstance(before, dict) and isinstance(item, dict)
        both[key] = merged(before, item) if is_inner and before is not None else item
    return both


def renamed(mapping: dict[Any, Any], rename: Callable[[Any], Any]) -> dict[Any, Any]:
    """Return a mapping under the keys that ``rename`` makes; equal ones get a number."""
    clean: dict[Any, Any] = {}
    number = 0  # never counts back, or many equal keys would take quadratic time
    for key, value in mapping.items():
        name = stem = rename(key)
        while name in clean:
            number += 1
            name = f"{stem} ({number})"
        clean[name] = value
    return clean
