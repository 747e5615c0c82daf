"""Celery: as contrib gives it (a span for each publish and each run)."""

from __future__ import annotations

from typing import Any


def options() -> dict[str, Any]:
    """Return the keyword arguments of ``CeleryInstrumentor.instrument()``."""
    return {}
