"""Ask the environment what is installed in it."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution, distributions, requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import Distribution

    from packaging.requirements import Requirement


def pip_install(what: str) -> str:
    """Return the command that installs something into this very Python."""
    return f"{_pip()} install {what}"


def pip_uninstall(what: str) -> str:
    """Return the command that removes something from this very Python."""
    return f"{_pip()} uninstall {what}"


def pip_check() -> str:
    """Return the command that says what does not fit together in this very Python."""
    return f"{_pip()} check"


def _pip() -> str:
    found = shutil.which("pip")
    is_ours = found is not None and Path(found).parent == Path(sys.executable).parent
    return "pip" if is_ours else f"{sys.executable} -m pip"


def normal(name: str) -> str:
    """Return the name of a distribution as PyPI normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, Distribution]:
    """Return what is installed, by normalised name; the first on the path counts."""
    found: dict[str, Distribution] = {}
    for one in distributions():
        name: Any = one.metadata["Name"]
        if name:
            found.setdefault(normal(name), one)
    return found


def version_of(name: str) -> str | None:
    """Return the version of a distribution; ``None``: it is not installed, or not whole."""
    try:
        return distribution(name).version
    except (PackageNotFoundError, KeyError):  # importlib_metadata's later versions raise KeyError
        return None


def requirements(name: str, extra: str = "") -> list[Requirement]:
    """Return what a distribution requires here; with ``extra``: what that one adds."""
    from packaging.requirements import Requirement

    found = []
    if version_of(name) is None:
        return []
    for text in requires(name) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if extra:
            matches = not always and marker is not None and marker.evaluate({"extra": extra})
        else:
            matches = always
        if matches:
            found.append(Requirement(text.partition(";")[0]))
    return found


def needed_by(names: Iterable[str]) -> set[str]:
    """Return the normalised names of all that these distributions need, in turn."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        one = normal(waiting.pop())
        if one in seen or version_of(one) is None:
            continue
        seen.add(one)
        waiting += [requirement.name for requirement in requirements(one)]
    return seen
