"""Sentry's own scrubber, as an oracle: what it would still strip, we should have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sentry_relay.processing import convert_datascrubbing_config, pii_strip_event

if TYPE_CHECKING:
    from collections.abc import Iterator

# Sentry's defaults for a new project, but for IP addresses, which it leaves to the SDK.
_DEFAULTS = convert_datascrubbing_config(
    {
        "scrubData": True,
        "scrubDefaults": True,
        "scrubIpAddresses": False,
        "sensitiveFields": [],
        "excludeFields": [],
    }
)

# Relay blanks a whole text in which one of its words stands: `SELECT token FROM t`, `token=` with
# nothing behind it. Such a text is looked at here: no word may have a value.
_WORDS = (
    "password|passwd|secret|api_?key|apikey|auth|credentials|token|bearer|mysql_pwd|stripetoken"
)
_HAS_VALUE = re.compile(
    rf"(?i)(?:{_WORDS})[\w-]{{0,20}}[\"']?\s{{0,4}}[:=]+\s{{0,4}}"
    r"(?!\[Filtered\]|[?%$:]|None|null|NULL)\S"
)

# One of ten thousand has a number inside that could be a credit card's; ids are to stay whole.
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_SOME_UUID = "abcdefab-cdef-4bcd-afab-cdefabcdefab"

# The random key of a WebSocket's handshake (RFC 6455) may begin as an IBAN does.
_WEBSOCKET_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_SOME_WEBSOCKET_KEY = "dGhlIHNhbXBsZSBub25jZQ=="

# Keys in which one of Relay's words stands by chance.
_HARMLESS_KEYS = re.compile(r"(?i)author|_(?:count|type|limit)$|usage\..*tokens$")


def left_to_strip(event: dict[str, Any]) -> list[str]:
    """Return what Relay would still strip, one line each: path, rule, value."""
    event = _with_same_ids({key: value for key, value in event.items() if key != "_meta"})
    stripped = pii_strip_event(_DEFAULTS, event)
    same = pii_strip_event({}, event)  # normalised in the same way, and whole
    return [
        f"{'.'.join(path)}: {rule}: {value!r}"
        for path, value, rule in _differences(same, stripped, stripped.get("_meta") or {}, ())
        if not _is_fine(path[-1], value, rule)
    ]


def assert_nothing_left_to_strip(event: dict[str, Any]) -> None:
    """Fail where Sentry's own scrubber finds something in an event that left us."""
    assert left_to_strip(event) == []


def _with_same_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {_with_same_ids(key): _with_same_ids(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_same_ids(one) for one in value]
    if not isinstance(value, str):
        return value
    if _WEBSOCKET_KEY.fullmatch(value):
        return _SOME_WEBSOCKET_KEY
    return _UUID.sub(_SOME_UUID, value)


def _differences(
    before: Any, after: Any, meta: dict[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    if isinstance(before, dict) and isinstance(after, dict):
        pairs: Any = [(key, before[key], after.get(key)) for key in before if key != "_meta"]
    elif isinstance(before, list) and isinstance(after, list):
        pairs = [(str(n), *both) for n, both in enumerate(zip(before, after, strict=True))]
    else:
        if before != after:
            yield path, before, meta.get("", {}).get("rem", [["?"]])[0][0]
        return
    for key, old, new in pairs:
        yield from _differences(old, new, meta.get(key) or {}, (*path, key))


def _is_fine(key: str, value: Any, rule: str) -> bool:
    if rule.startswith("@bearer"):
        return "[Filtered]" in value
    if rule != "@password:filter":
        return False
    if re.search(f"(?i){_WORDS}", key):
        return bool(_HARMLESS_KEYS.search(key)) or isinstance(value, (bool, float))
    return isinstance(value, str) and not _HAS_VALUE.search(value)
