from __future__ import annotations

from pathlib import Path

import pytest

# Whichever comes first builds the Collector, and Go may have to fetch and compile all of it.
_SECONDS = 1200


def pytest_collection_modifyitems(items) -> None:
    """Give the tests of this folder time."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(_SECONDS))
