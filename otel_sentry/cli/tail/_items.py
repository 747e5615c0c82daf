"""What the receiver keeps of a request, and how it says no."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

# An envelope of Sentry's SDKs holds at most 1,000 spans and an OTLP batch 512 by default.
MAX_ITEMS = 10_000


@dataclass(frozen=True)
class Item:
    """
    One thing that a service sent.

    Attributes:
        kind: "transaction", "error", "span", "log", "client_report", "session", "check_in",
            "otlp_span", "otlp_logs", "otlp_metrics", or the item type that the envelope names.
        payload: The JSON object, or the bytes of what is no JSON object.
        envelope_headers: The first line of the envelope; empty for OTLP.
        headers: The item's own header line; empty for OTLP.
        path: Where it was posted.
        received_at: Seconds since the epoch.
    """

    kind: str
    payload: dict[str, Any] | bytes
    envelope_headers: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    received_at: float = field(default_factory=time.time)

    @property
    def fields(self) -> dict[str, Any]:
        """Return the payload where it is a JSON object, else an empty one."""
        return self.payload if isinstance(self.payload, dict) else {}


class Refused(Exception):  # noqa: N818 -- an answer, not a fault of ours
    """
    A request that gets another answer than success.

    Args:
        status: The HTTP status.
        reason: One line for the person who reads the client's log.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def load_json(data: bytes, what: str) -> Any:
    """Parse `data`, with NaN and infinities as None; refuse what is no JSON with 400."""
    try:
        return json.loads(data, parse_float=_finite, parse_constant=lambda _: None)
    # RecursionError: 100,000 opening brackets.
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"{what} is not JSON") from error


def load_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse `data` as a JSON object, else refuse with 400."""
    value = load_json(data, what)
    if not isinstance(value, dict):
        raise Refused(400, f"{what} is not a JSON object")
    return value


def _finite(text: str) -> float | None:
    """Read a float; "1e999" is valid JSON, but nothing could print it as JSON again."""
    value = float(text)
    return value if math.isfinite(value) else None
