"""Exception groups, in Python 3.10 from the package that anyio brings there."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    Group = ExceptionGroup  # noqa: F821
else:
    from exceptiongroup import ExceptionGroup as Group

__all__ = ["Group"]
