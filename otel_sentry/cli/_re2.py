"""
Translate the shapes of secrets to RE2, the regular expressions of the Collector.

RE2 looks neither ahead nor behind. What Python's expression looks at is matched and kept instead;
what it only looks at to spare a harmless text is left out, so that RE2 removes rather more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MOST_REPETITIONS = 1000  # https://github.com/google/re2/wiki/Syntax
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}|\(\?<?[=!]|\(\?(?:[aimsx-]*:)|\(|\)|.", re.DOTALL
)
_ONE_CHARACTER = re.compile(r"\\[wds]|\[(?!\^)(?:\\.|[^\]\\])*\]|[^\\\[\](){}.*+?|^$]")
ESCAPE = r"\\[nrt]|(?:%|\\x|\\u[0-9A-Fa-f]{2})[0-9A-Fa-f]{2}"


@dataclass(frozen=True)
class Replacement:
    """A pattern and what its matches become: ``$1`` stands for a group, as in Go."""

    pattern: str
    replacement: str


@dataclass
class _Translation:
    """What was written so far; ``kept`` says of each group whether it stands behind the secret."""

    text: str = ""
    kept: list[bool] = field(default_factory=list)

    def keep(self, pattern: str, *, behind: bool) -> None:
        self.text += f"({pattern})"
        self.kept.append(behind)


def translate(pattern: str, marker: str) -> Replacement:
    """
    Return the RE2 expression that finds at least what ``pattern`` finds, and its replacement.

    Args:
        pattern: A regular expression of Python without groups that capture.
        marker: What stands for a removed secret.
    """
    translation = _Translation()
    tokens = _TOKEN.findall(pattern)
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if re.fullmatch(r"\(\?<?[=!]", token):
            inside, position = _group(tokens, position)
            _look(token, inside, translation)
        else:
            translation.text += _plain(token)
    before = "".join(f"${{{i}}}" for i, behind in enumerate(translation.kept, 1) if not behind)
    behind = "".join(f"${{{i}}}" for i, behind in enumerate(translation.kept, 1) if behind)
    return Replacement(translation.text, f"{before}{marker}{behind}")


def _group(tokens: list[str], position: int) -> tuple[list[str], int]:
    """Return the tokens up to the parenthesis that ends the group, and where it ended."""
    start, depth = position, 1
    while depth:
        depth += tokens[position].startswith("(") - (tokens[position] == ")")
        position += 1
    return tokens[start : position - 1], position


def _look(kind: str, inside: list[str], translation: _Translation) -> None:
    text = "".join(map(_plain, inside))
    if kind == "(?<=":
        translation.keep(text, behind=False)
    elif kind == "(?=":
        translation.keep(text, behind=True)
    elif kind == "(?<!" and _ONE_CHARACTER.fullmatch(text):
        # Of a printed or encoded text, letters that end an escape stand before a word.
        escapes = f"{ESCAPE}|" if r"\w" in "".join(inside) else ""
        translation.keep(f"{escapes}^|{_none_of(text)}", behind=False)


def _none_of(character: str) -> str:
    return f"[^{character[1:]}" if character.startswith("[") else f"[^{character}]"


def _plain(part: str) -> str:
    """Return what one part of Python's expression is in RE2."""
    if part == r"\Z":
        return r"\z"
    # Python's \\w knows all letters, RE2's those of ASCII.
    if part.startswith("["):
        return part.replace(r"[^\W\d_]", r"\p{L}").replace(r"\w", r"\p{L}\p{N}_")
    if part == r"\w":
        return r"[\p{L}\p{N}_]"
    if part == "(":
        return "(?:"
    counts = re.fullmatch(r"\{(\d*),?(\d*)\}", part)
    if counts and max(int(count or 0) for count in counts.groups()) > _MOST_REPETITIONS:
        return "+" if int(counts[1] or 0) else "*"
    return part
