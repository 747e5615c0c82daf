"""Take texts that are known to be secrets out of plain values, wherever in them they stand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from otel_sentry.scrubbing._marks import FILTERED, Removed, renamed
from otel_sentry.scrubbing._rules import LIBRARY_KEYS, PROTOCOL_KEYS, SOURCE_KEYS

if TYPE_CHECKING:
    from collections.abc import Collection

_NO_WORD = 16  # characters; a text of as many stands in no other one by chance
_WORD = re.compile(r"[a-z]+")
# Behind %2F and behind a \\n that is written out, too.
_ALONE = r"(?:(?<![^\W_])|(?<=%%[0-9A-Fa-f]{2})|(?<=\\[nrt]))%s(?![^\W_])"

# Of an event, what is no data: Sentry reads these, and an answer to a path must not change them.
_FIXED = (
    LIBRARY_KEYS
    | PROTOCOL_KEYS
    | SOURCE_KEYS
    | {
        "_meta", "category", "level", "logger", "mechanism", "method", "op", "origin", "platform",
        "server_name", "source", "start_timestamp", "status", "timestamp", "type",
    }
)  # fmt: skip
_DATA = frozenset({"data", "extra", "vars"})


class Remover:
    """
    Takes texts out of plain values.

    A short one must stand there as a word; and one that may be a word stays in keys, which have the
    names of attributes and variables.

    Args:
        secrets: The texts.
        rule: Names why they are secrets.
    """

    def __init__(self, secrets: Collection[str], rule: str) -> None:
        self._rule = rule
        ways = [
            (secret, None if len(secret) >= _NO_WORD else re.compile(_ALONE % re.escape(secret)))
            for secret in sorted(secrets, key=len, reverse=True)
        ]
        self._ways = ways
        self._ways_of_keys = [
            (one, way) for one, way in ways if not way or not _WORD.fullmatch(one)
        ]

    def of_data(self, value: Any) -> Any:
        """Return a value of the application's without the texts, keys included."""
        if isinstance(value, str):
            return self._without(value, self._ways)
        if isinstance(value, dict):
            data = {key: self.of_data(item) for key, item in value.items()}
            return renamed(data, self._of_key)
        return [self.of_data(item) for item in value] if isinstance(value, list) else value

    def of_attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return attributes, or a breadcrumb, without the texts."""
        data = {
            key: item if key in _FIXED else self.of_data(item) for key, item in attributes.items()
        }
        return renamed(data, self._of_key)

    def of_event(self, value: Any) -> Any:
        """Return an event, or a part of one, without the texts; its own keys stay."""
        if isinstance(value, dict):
            return {
                key: item
                if key in _FIXED
                else self.of_data(item)
                if key in _DATA
                else self.of_event(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.of_event(item) for item in value]
        return self.of_data(value)

    def _of_key(self, key: Any) -> Any:
        return self._without(key, self._ways_of_keys) if isinstance(key, str) else key

    def _without(self, text: str, ways: list[tuple[str, re.Pattern[str] | None]]) -> str:
        scrubbed = str(text)
        for secret, way in ways:
            if secret in scrubbed:
                scrubbed = (
                    way.sub(FILTERED, scrubbed) if way else scrubbed.replace(secret, FILTERED)
                )
        if scrubbed == text:
            return text
        return Removed(scrubbed, *getattr(text, "rules", ()), self._rule)
