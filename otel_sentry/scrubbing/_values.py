"""Apply the rules to plain values of any nesting."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from otel_sentry.scrubbing._keys import is_structure
from otel_sentry.scrubbing._marks import FILTERED, Removed, renamed
from otel_sentry.scrubbing._rules import (
    CACHE_KEYS,
    MAX_DEPTH,
    MAX_KEY,
    MAX_KNOWN_KEYS,
    MAX_VALUES,
    PROTOCOL_KEYS,
    SOURCE_KEYS,
    SPECIAL_KEYS,
    SQL_KEYS,
)
from otel_sentry.scrubbing._texts import is_card

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_sentry.scrubbing._keys import Keys
    from otel_sentry.scrubbing._texts import Texts

_NAME = re.compile(r"(?:b')?[\w.-]+'?")
_NAMES = re.compile(r"[A-Za-z][a-z]*(?:[-_. ][A-Za-z][a-z]*)*")  # of words: no secret
_ID_OR_RELEASE = re.compile(r"[0-9a-f-]{16,36}|[\w./-]+@\d[\w.+-]*")

SMALLEST_CARD = 10**12
"""No number of fewer than 13 digits is a card's."""

# Below these keys an event holds what the application said, and names there mean nothing to Sentry.
_DATA = frozenset({"contexts", "data", "extra", "request", "tags", "user", "vars"})

# Where a mapping says the name of its value: AWS, Kubernetes, forms, loops over items().
_NAMED_VALUES = (
    ("value", ("name", "key", "field", "header")),
    ("Value", ("Name", "Key")),
    ("ParameterValue", ("ParameterKey", "ParameterName")),
    ("v", ("k",)),
)


class Walk:
    """
    What is left to look at of one value, and the lists and mappings it is inside of.

    Args:
        is_data: Whether the application gave the value; else it is a part of an event.
    """

    __slots__ = ("is_data", "left", "open")

    def __init__(self, *, is_data: bool = True) -> None:
        self.is_data = is_data
        self.left = MAX_VALUES
        self.open: set[int] = set()


class Values:
    """
    The rules of values.

    Args:
        keys: Decides by the key.
        texts: Looks into texts.
    """

    def __init__(self, keys: Keys, texts: Texts) -> None:
        self._keys = keys
        self._texts = texts
        # Keys without a secret in them, and under them a text like any other; bounded by
        # MAX_KNOWN_KEYS.
        self.ordinary: set[str] = set()

    def value(self, key: str, value: Any, walk: Walk | None = None) -> Any:  # noqa: PLR0911 - one a kind
        """
        Return a value without secrets.

        Args:
            key: What it stands under.
            value: It.
            walk: The walk that came here; ``None``: it is an attribute.
        """
        is_text = type(value) is str  # nearly always
        # No secret is a float, and durations have names like time_to_first_token.
        if not is_text and (value is None or isinstance(value, (bool, float))):
            return value
        if key in PROTOCOL_KEYS and isinstance(value, str) and _ID_OR_RELEASE.fullmatch(value):
            return value
        rule = self._keys.rule_of(key)
        if rule and not is_structure(rule, key, value):
            return _removed(value, rule)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if is_text or isinstance(value, str):
            return self._string(key, value, walk)
        if isinstance(value, int):
            # Compared first: Python does not write numbers of thousands of digits.
            is_secret = SMALLEST_CARD <= value < 10**19 and is_card(str(value))
            return Removed(FILTERED, "card_number") if is_secret else value
        if isinstance(value, date):
            return value
        return self._container(key, value, walk)

    def _string(self, key: str, value: str, walk: Walk | None) -> str:
        if key in SQL_KEYS:
            return self._texts.statement(value)
        if key in CACHE_KEYS:
            return self._texts.cache_keys(value)
        is_source = key in SOURCE_KEYS and walk is not None and not walk.is_data
        return self._texts.source(value) if is_source else self._texts.text(value)

    def _container(self, key: str, value: Any, walk: Walk | None) -> Any:
        if not isinstance(value, (dict, list, tuple)):
            return Removed(FILTERED, "unreadable")
        is_attribute = walk is None
        walk = walk or Walk()
        walk.left -= len(value)
        if id(value) in walk.open or len(walk.open) >= MAX_DEPTH or walk.left < 0:
            return Removed(FILTERED, "size")
        walk.open.add(id(value))
        was_data = walk.is_data
        walk.is_data = was_data or key in _DATA
        if isinstance(value, dict):
            scrubbed: Any = self._mapping(value, walk)
        else:
            # An attribute may be a list of names, as of the header Vary: cookie, accept.
            is_pair = len(value) == 2 and not (is_attribute and _are_names(value))  # noqa: PLR2004
            scrubbed = self._sequence(key, value, walk, is_pair=is_pair)
        walk.is_data = was_data
        walk.open.discard(id(value))
        return scrubbed

    def _mapping(self, mapping: dict[Any, Any], walk: Walk) -> dict[str, Any]:
        ordinary, clean = self.ordinary, self._texts.clean
        scrubbed: dict[Any, Any] = {
            # As for attributes: what is nearly always there is answered without a call.
            key: value
            if walk.is_data
            and type(value) is str
            and type(key) is str
            and key in ordinary
            and value in clean
            else self.value(text_of(key), value, walk)
            for key, value in mapping.items()
        }
        for field, names in _NAMED_VALUES:
            if field in mapping and (rule := self._rule_beside(mapping, names)):
                scrubbed[field] = _removed(mapping[field], rule)
        if "client" in mapping and "scheme" in mapping and self._keys.removes_personal_data:
            scrubbed["client"] = Removed(FILTERED, "personal_key")  # an ASGI scope: the address
        if mapping.get("in_app") is False and isinstance(scrubbed.get("vars"), dict):
            # Frameworks hold the whole request, and drivers parameters that no name tells.
            scrubbed["vars"] = dict.fromkeys(scrubbed["vars"], Removed(FILTERED, "library_frame"))
        message = mapping.get("message")
        way = self._of_breadcrumb(mapping.get("category"))
        if way is not None and isinstance(message, str):
            scrubbed["message"] = way(message)
        return self.with_clean_keys(scrubbed)

    def _rule_beside(self, mapping: dict[Any, Any], names: tuple[str, ...]) -> str:
        said = (mapping.get(name) for name in names)
        rules = (self._keys.rule_of(name) for name in said if isinstance(name, str))
        return next(filter(None, rules), "")

    def _of_breadcrumb(self, category: Any) -> Callable[[str], str] | None:
        """Return how to read the messages of breadcrumbs that sentry-sdk leaves for queries."""
        if category == "query":
            return self._texts.statement
        return self._texts.command if category == "redis" else None

    def clean_key(self, key: Any) -> str:
        """Return a key without secrets: most are names, but a form may have a body as its key."""
        name = text_of(key)
        return self._texts.source(name) if _NAME.fullmatch(name) else self._texts.text(name)

    def with_clean_keys(self, mapping: dict[Any, Any]) -> dict[str, Any]:
        """Return a mapping under keys without secrets."""
        if self.ordinary.issuperset(mapping):
            return mapping
        unknown = mapping.keys() - self.ordinary
        if not all(type(key) is str and self.clean_key(key) == key for key in unknown):
            return renamed(mapping, self.clean_key)
        # Half of it is for the names of attributes, of which there are fewer.
        if len(self.ordinary) + len(unknown) <= MAX_KNOWN_KEYS // 2:
            self.ordinary.update(filter(self._is_ordinary, unknown))
        return mapping

    def _is_ordinary(self, key: str) -> bool:
        return len(key) <= MAX_KEY and key not in SPECIAL_KEYS and not self._keys.rule_of(key)

    def _sequence(
        self, key: str, items: list[Any] | tuple[Any, ...], walk: Walk, *, is_pair: bool
    ) -> list[Any]:
        # A header is often a pair: ["authorization", "Bearer ..."].
        if is_pair and (rule := self._rule_of_name(items[0])):
            return [items[0], Removed(FILTERED, rule)]
        # ... and a command line a list: ["--password", "..."].
        before = (None, *items)
        return [
            Removed(FILTERED, rule)
            if isinstance(flag, str) and flag.startswith("-") and (rule := self._rule_of_name(flag))
            else self.value(key, item, walk)
            for flag, item in zip(before, items, strict=False)
        ]

    def _rule_of_name(self, item: Any) -> str:
        if isinstance(item, bytes):
            item = item.decode("latin-1")
        is_name = isinstance(item, str) and _NAME.fullmatch(item)
        return self._keys.rule_of(item) if is_name else ""


def text_of(key: Any) -> str:
    """Return a key, whatever it is, as a text."""
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _removed(value: Any, rule: str) -> Any:
    # No secret is a float, and durations have names like time_to_first_token.
    is_none = value is None or isinstance(value, (bool, float)) or value == FILTERED
    return value if is_none else Removed(FILTERED, rule)


def _are_names(items: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(item, str) and _NAMES.fullmatch(item) for item in items)
