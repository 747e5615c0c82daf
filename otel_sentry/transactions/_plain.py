"""Make values plain: what can be written as JSON and read by Relay, and of bounded length."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TEXT = 8192
"""Characters of one value that is sent; a longer one is cut and ends with an ellipsis."""

BRIEF_TEXT = 256
"""The same where the whole would be more than Sentry takes."""

_MAX_READ = 8 * MAX_TEXT + 1
"""
Characters of one value that are looked at: a secret at the cut must not be cut in two.

One more than the scrubber reads, so that it knows of the cut, and half a secret goes with it.
"""

MAX_ITEMS = 128
"""Items of one list or mapping."""

_MAX_DEPTH = 8

_LIMIT = 2**63


def plain_mapping(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping of attributes with plain values."""
    return {
        key if type(key) is str and key.isascii() else plain_text(key): plain(value)
        for key, value in mapping.items()
    }


def plain_text(text: Any) -> str:
    """
    Return text without lone surrogates, which no JSON parser takes, and of bounded length.

    Args:
        text: Whatever an application gave; what cannot be written as text is its type's name.
    """
    if not isinstance(text, str):
        try:
            text = str(text)
        except Exception:  # noqa: BLE001 - it is the application's, or a number of 5,000 digits
            text = f"<{type(text).__name__}>"
    read: str = text[:_MAX_READ]
    return read if read.isascii() else read.encode("utf-8", "replace").decode()


def plain(value: Any, depth: int = 0) -> Any:  # noqa: PLR0911 - one return a kind of value
    """Return a plain value: text, number, flag, ``None``, or lists and mappings of these."""
    kind = type(value)
    if kind is str:
        return plain_text(value)
    if kind is bool or value is None:
        return value
    if kind is int:
        # Sentry's numbers have 64 bits.
        return value if -_LIMIT <= value < _LIMIT else plain_text(value)
    if kind is float:
        # JSON has no NaN and no infinity.
        return value if isfinite(value) else str(value)
    if isinstance(value, bytes):
        return plain_text(value[:_MAX_READ].decode("utf-8", "replace"))
    if depth >= _MAX_DEPTH:
        return "\N{HORIZONTAL ELLIPSIS}"
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value[:MAX_ITEMS]]
    if isinstance(value, dict):
        return {
            plain_text(key): plain(item, depth + 1) for key, item in list(value.items())[:MAX_ITEMS]
        }
    return plain_text(value)


def shorten(value: Any, longest: int = MAX_TEXT) -> Any:
    """Return a plain value with texts of at most ``longest`` characters."""
    if isinstance(value, str):
        if len(value) <= longest:
            return value
        return value[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
    if isinstance(value, list):
        return [shorten(item, longest) for item in value]
    if isinstance(value, dict):
        return {
            # What is nearly always there is answered here: a call costs more than the answer.
            key: item if type(item) is str and len(item) <= longest else shorten(item, longest)
            for key, item in value.items()
        }
    return value
