from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_each_named_test_exists():
    """docs/reliability.md names tests and files that there are."""
    page = (ROOT / "docs/reliability.md").read_text()
    sources = [*(ROOT / "tests/faults").glob("test_*.py"), ROOT / "tests/test_transport.py"]
    tests = {
        name
        for path in sources
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", page))

    assert named <= tests
    assert len(named) >= 30
    assert all(
        (ROOT / path).is_file() for path in re.findall(r"`((?:benchmarks|tests)/\S+\.py)`", page)
    )
