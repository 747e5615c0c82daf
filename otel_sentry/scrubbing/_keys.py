"""Decide by its key whether a value must not leave the process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from otel_sentry.scrubbing._rules import (
    HARMLESS_ENDINGS,
    MAX_KEY,
    MAX_KNOWN_KEYS,
    PERSONAL_KEYS,
    POSITIONAL_PREFIXES,
    SENSITIVE_ENDINGS,
    SENSITIVE_PHRASES,
    SENSITIVE_WORDS,
    STRUCTURE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W_\x00-\x7f]+")
_SEGMENTS = re.compile(r"[a-z0-9]+")
_APART = tuple(f"_{phrase}" for phrase in SENSITIVE_PHRASES)
_TOGETHER = tuple(phrase.replace("_", "") for phrase in SENSITIVE_PHRASES)


class Keys:
    """
    The rules of keys, and what they decided.

    Args:
        scrub: More keys to remove; each also as a part of a longer key.
        keep: Keys to keep whatever the rules say.
        send_default_pii: Keep what :data:`PERSONAL_KEYS` names.
    """

    def __init__(
        self, scrub: Iterable[str] = (), keep: Iterable[str] = (), *, send_default_pii: bool = False
    ) -> None:
        self._more = tuple(filter(None, map(normalise, scrub)))
        self._keep = {normalise(key) for key in keep}
        self._personal = () if send_default_pii else tuple(f"_{key}" for key in PERSONAL_KEYS)
        self.removes_personal_data = not send_default_pii
        self.known: dict[str, str] = {}  # bounded by MAX_KNOWN_KEYS

    def rule_of(self, key: str) -> str:
        """Return the name of the rule that removes the value under ``key``; empty: none does."""
        known = self.known.get(key)
        if known is None:
            known = self._decide(key)
            if len(self.known) < MAX_KNOWN_KEYS and len(key) <= MAX_KEY:
                self.known[key] = known
        return known

    def is_kept(self, key: str) -> bool:
        """Return whether the user wants to keep the value under ``key``."""
        return bool(self._keep) and normalise(key) in self._keep

    def _decide(self, key: str) -> str:
        name = normalise(key)
        if name in self._keep:
            return ""
        if name in self._more or (key not in STRUCTURE and any(p in name for p in self._more)):
            return "own_key"
        if key.startswith(POSITIONAL_PREFIXES):
            return "parameters"
        if _is_sensitive(key, name):
            return "sensitive_key"
        return "personal_key" if f"_{name}".endswith(self._personal) else ""


def _is_sensitive(key: str, name: str) -> bool:
    words = name.split("_")
    if words[-1] in HARMLESS_ENDINGS:
        return False
    return (
        not SENSITIVE_WORDS.isdisjoint(words)
        or any(word.endswith(SENSITIVE_ENDINGS) for word in words)
        or any(phrase in f"_{name}" for phrase in _APART)
        or any(
            phrase in segment for segment in _SEGMENTS.findall(key.lower()) for phrase in _TOGETHER
        )
    )


def is_structure(rule: str, key: str, value: Any) -> bool:
    """Return whether only a key of the user's own removes what holds a part of an event."""
    return rule == "own_key" and key in STRUCTURE and isinstance(value, (dict, list))


def normalise(key: str) -> str:
    """Return ``http_request_header_x_api_key`` for ``http.request.header.X-Api-Key``."""
    return "_".join(_WORDS.findall(key.removeprefix("b'"))).lower()
