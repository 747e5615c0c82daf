"""Read the application's code without running it: which functions does it call?"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

_MAX_FILES = 300
_MAX_BYTES = 1_000_000  # of a file


@dataclass(frozen=True)
class Call:
    """A call in the code: `sentry_sdk.init` at `app.py:12`, with the names of its arguments."""

    name: str
    place: str
    arguments: frozenset[str]


def files_of(situation: Situation) -> list[Path]:
    """Return the file that the application starts from, and those beside it that it imports."""
    root = situation.directory.resolve()
    module = situation.app.partition(":")[0]
    first = Path(root, module)
    start = first if module.endswith(".py") and first.is_file() else _file(root, module)
    if start is None:
        return []
    roots = [root, start.parent]
    files = [start]  # bound: _MAX_FILES
    for file in files:
        for name in _imports(file, root):
            found = next((one for one in (_file(at, name) for at in roots) if one), None)
            if found and found not in files and len(files) < _MAX_FILES:
                files.append(found)
    return files


def calls_of(situation: Situation) -> list[Call]:
    """Return the calls in the application's files, by what the names were imported from."""
    root = situation.directory.resolve()
    found: list[Call] = []
    for file in files_of(situation):
        tree = _parse(file)
        names = dict(_imported(tree))
        place = file.relative_to(root) if file.is_relative_to(root) else file
        found += [
            Call(
                _dotted(node.func, names),
                f"{place}:{node.lineno}",
                frozenset(
                    keyword.arg for keyword in node.keywords if keyword.arg and _is_on(keyword)
                ),
            )
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        ]
    return found


def _file(root: Path, module: str) -> Path | None:
    """Return the file of a module below a directory."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts) or parts[0] in sys.stdlib_module_names:
        return None
    base = root.joinpath(*parts)
    for candidate in (base.with_suffix(".py"), base / "__init__.py", base / "__main__.py"):
        if candidate.is_file():
            return candidate
    return None


def _parse(file: Path) -> ast.Module:
    try:
        if file.stat().st_size <= _MAX_BYTES:
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        pass  # what cannot be read here does not run either, and says so itself
    return ast.Module(body=[], type_ignores=[])


def _imports(file: Path, root: Path) -> Iterator[str]:
    """Yield the dotted names that a file may import modules by."""
    package = list(file.parent.relative_to(root).parts) if file.is_relative_to(root) else []
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield ".".join(base)
            yield from (".".join([*base, alias.name]) for alias in node.names)


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each imported name with what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                (alias.asname, alias.name) if alias.asname else (alias.name, alias.name)
                for alias in node.names
            )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the dotted name of what is called, imports resolved; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(names.get(node.id, node.id))
    return ".".join(reversed(parts))


def _is_on(keyword: ast.keyword) -> bool:
    """Return whether an argument is given something other than None, False and 0."""
    return not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
