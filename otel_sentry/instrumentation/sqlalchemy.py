"""SQLAlchemy: as contrib gives it, for 2.1 as well, which contrib 0.66 refuses without need."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

BEYOND = ">=2.1,<2.2"


def options() -> dict[str, Any]:
    """Return the keyword arguments of ``SQLAlchemyInstrumentor.instrument()``."""
    return {}


def instrument(instrumentor: Any) -> None:
    """Instrument a version that contrib refuses."""
    try:
        instrumentor.instrument(skip_dep_check=True, **options())
    except ImportError:
        # Contrib wraps async engines last. They need greenlet, which 2.1 no longer installs.
        if find_spec("greenlet") is not None:
            raise
