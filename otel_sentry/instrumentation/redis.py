"""Redis: as contrib gives it (commands without their arguments)."""

from __future__ import annotations

from typing import Any


def options() -> dict[str, Any]:
    """Return the keyword arguments of ``RedisInstrumentor.instrument()``."""
    return {}
