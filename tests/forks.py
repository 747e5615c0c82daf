"""Fork in a test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def forks(test: Any) -> Any:
    """Mark a test that forks this process, in which other tests may have left threads."""
    skip = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    warning = "ignore:This process .* is multi-threaded:DeprecationWarning"
    return skip(pytest.mark.filterwarnings(warning)(test))


def in_child(work: Callable[[], str]) -> str:
    """Return what ``work`` returns in a forked child, which ends after it; empty if it raises."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, work().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said
