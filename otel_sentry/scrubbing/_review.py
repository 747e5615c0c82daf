"""Let the user's callback see each value, and decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry._logging import report
from otel_sentry.scrubbing._marks import FILTERED, Removed

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_DEPTH = 64  # of what the callback returns


def reviewed(
    before: Any, after: Any, callback: Callable[[str, Any, str | None], Any], path: str = ""
) -> Any:
    """
    Return ``after`` as the callback wants it.

    Args:
        before: A value.
        after: What the rules left of it, of the same shape where they left something.
        callback: Is asked about each text, number and flag, and about each whole list and mapping
            that a rule removed.
        path: Where the value stands, keys and positions with dots between them.
    """
    prefix = f"{path}." if path else ""
    if isinstance(after, dict):
        pairs = zip(before.values(), after.items(), strict=True)
        return {key: reviewed(old, new, callback, f"{prefix}{key}") for old, (key, new) in pairs}
    if isinstance(after, list):
        return [
            reviewed(old, new, callback, f"{prefix}{position}")
            for position, (old, new) in enumerate(zip(before, after, strict=True))
        ]
    if before == FILTERED:
        return after  # removed before: there is nothing left to decide
    rule = after.rules[0] if isinstance(after, Removed) else None
    try:
        answer = callback(path, before, rule)
    except Exception as error:  # noqa: BLE001 - the user's code
        report("calling the scrub callback of init()", error)
        return Removed(FILTERED, "callback")
    if answer is after or (rule is not None and answer == FILTERED):
        return after
    plain = _plain(answer, 0)
    return Removed(plain, "callback") if isinstance(plain, str) and answer != before else plain


def _plain(value: Any, depth: int) -> Any:
    """Return what JSON can say; what else the callback returns is removed."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if depth < _MAX_DEPTH and isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    return Removed(FILTERED, "unreadable")
