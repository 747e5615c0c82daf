"""
Read Sentry's envelopes.

The format is at https://develop.sentry.dev/sdk/foundations/envelopes/ : a header line, then items,
each a header line and a payload of `length` bytes or, without a length, to the end of the line.
"""

from __future__ import annotations

from typing import Any

from otel_sentry.cli.tail._items import MAX_ITEMS, Item, Refused, load_json, load_object

# What must be a JSON object; anything else may be one.
_OBJECTS = frozenset(
    {"event", "transaction", "client_report", "session", "sessions", "check_in", "log", "span"}
)

# Types that carry {"items": [...]}; each of these becomes one Item.
_BATCHES = frozenset({"log", "span", "trace_metric"})

_KINDS = {"event": "error"}


def parse_envelope(body: bytes, path: str) -> tuple[dict[str, Any], list[Item]]:
    """
    Split an envelope.

    Returns:
        The envelope's headers and its items.

    Raises:
        Refused: 400 if it is malformed, 413 if it holds too many items.
    """
    line, position = _line(body, 0)
    envelope_headers = load_object(line, "the envelope's header line")
    items: list[Item] = []
    while position < len(body):
        line, position = _line(body, position)
        if not line.strip():
            continue
        headers = load_object(line, "an item's header line")
        payload, position = _payload(body, position, headers)
        kind: str = headers["type"]
        items += [
            Item(_KINDS.get(kind, kind), content, envelope_headers, headers, path)
            for content in _contents(headers, payload)
        ]
        if len(items) > MAX_ITEMS:
            raise Refused(413, f"an envelope may hold {MAX_ITEMS} items here")
    return envelope_headers, items


def _line(body: bytes, start: int) -> tuple[bytes, int]:
    """Return the line that begins at `start`, and where the next one begins."""
    end = body.find(b"\n", start)
    return (body[start:], len(body)) if end < 0 else (body[start:end], end + 1)


def _payload(body: bytes, start: int, headers: dict[str, Any]) -> tuple[bytes, int]:
    """Return an item's payload, and where the next item begins."""
    if not isinstance(headers.get("type"), str):
        raise Refused(400, "an item's header line has no type")
    length = headers.get("length")
    if length is None:
        return _line(body, start)
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise Refused(400, "an item's length is not a number of bytes")
    end = start + length
    if end > len(body) or body[end : end + 1] not in {b"", b"\n"}:
        raise Refused(400, "an item's length does not fit its payload")
    return body[start:end], end + 1


def _contents(headers: dict[str, Any], payload: bytes) -> list[dict[str, Any] | bytes]:
    """Return what the payload holds: one thing or, of a batch, several."""
    what = f"the payload of an item of type {headers['type'][:40]!r}"
    if headers["type"] in _OBJECTS:
        value: Any = load_object(payload, what)
    else:
        try:
            value = load_json(payload, what)
        except Refused:
            value = None
    if not isinstance(value, dict):
        return [payload]
    batch = value.get("items")
    if headers["type"] not in _BATCHES or not isinstance(batch, list):
        return [value]
    if not all(isinstance(entry, dict) for entry in batch):
        raise Refused(400, f"{what} holds something else than objects")
    return list(batch)
