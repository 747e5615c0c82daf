"""Read and write ``sentry-trace``, ``traceparent`` and ``baggage``: pure functions."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# https://develop.sentry.dev/sdk/foundations/trace-propagation/#header-sentry-trace
_SENTRY_TRACE = re.compile(r"[ \t]*([0-9a-f]{32})-([0-9a-f]{16})(?:-([01]))?[ \t]*")

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch  # what quote() leaves as it is

# A key of `baggage` (https://www.w3.org/TR/baggage/#key) but for %, which is how we write others.
_TOKEN = re.compile(r"[A-Za-z0-9!#$&'*+.^_`|~-]+").fullmatch

# https://www.w3.org/TR/baggage/#limits
_MAX_BAGGAGE_BYTES = 8192
_MAX_BAGGAGE_ENTRIES = 64


def parse_sentry_trace(header: str) -> tuple[str, str, str | None] | None:
    """Return trace, span and flag (``None``: left open); ``None`` where it is malformed."""
    match = _SENTRY_TRACE.fullmatch(header)
    if not match or not int(match[1], 16) or not int(match[2], 16):
        return None
    return match[1], match[2], match[3]


def parse_traceparent(header: str) -> tuple[str, str, str] | None:
    """Return trace, span and flags; ``None`` where it is malformed."""
    match = _TRACEPARENT.fullmatch(header.rstrip(" \t"))
    if not match:
        return None
    version, trace, span, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace, 16) or not int(span, 16):
        return None
    return trace, span, flags


def parse_baggage(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield the entries of all ``baggage`` lines, without properties, within W3C's limits."""
    size = 0
    members = (member for line in lines for member in line.split(","))
    for member in islice(members, _MAX_BAGGAGE_ENTRIES):
        size += len(member) + 1
        if size > _MAX_BAGGAGE_BYTES + 1:
            return
        key, found, value = member.partition(";")[0].partition("=")
        key = key.strip()
        if found and key:
            yield unquote(key), unquote(value.strip())


# Bound: 256 texts of at most a header each. What is the same in every request (keys, release,
# environment, routes) stays; a trace's own id and number pass through.
@lru_cache(maxsize=256)
def _quote(text: str) -> str:
    # Most need no quoting, and to find out this way takes a fifth of the time. "replace": a lone
    # surrogate, which no header can hold, must not stop a request.
    return text if _UNRESERVED(text) else quote(text, safe="", errors="replace")


@lru_cache(maxsize=256)  # bound: as above
def _quote_key(text: str) -> str:
    return text if _TOKEN(text) else quote(text, safe="", errors="replace")


def members_of(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield key and text of the members of ``baggage`` lines, with their properties."""
    for line in lines:
        for text in line.split(","):
            key, found, _ = text.partition("=")
            if found and key.strip():
                yield unquote(key.strip()), text.strip()


def members(entries: Mapping[str, str], prefix: str = "") -> list[str]:
    """Write entries as members of ``baggage``, with a prefix before their keys."""
    return [f"{_quote_key(prefix + key)}={_quote(value)}" for key, value in entries.items()]


def format_baggage(members: Sequence[str], last: Sequence[str] = ()) -> str:
    """
    Write one ``baggage`` header; members that W3C's limits leave no room for are left out.

    Args:
        members: Each as text.
        last: Stand behind them, and have room first.
    """
    header = ",".join([*members, *last])
    if len(header) <= _MAX_BAGGAGE_BYTES and len(members) + len(last) <= _MAX_BAGGAGE_ENTRIES:
        return header
    left, room = _MAX_BAGGAGE_BYTES + 1, _MAX_BAGGAGE_ENTRIES  # the last needs no comma
    kept: tuple[list[str], list[str]] = ([], [])
    for some, into in zip((last, members), kept, strict=True):
        for one in some:
            if len(one) < left and room:
                left -= len(one) + 1
                room -= 1
                into.append(one)
    return ",".join(kept[1] + kept[0])
