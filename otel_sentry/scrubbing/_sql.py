"""Take the literals out of SQL, and out of what errors quote of it."""

from __future__ import annotations

import re
from functools import partial

from otel_sentry.scrubbing._rules import QUOTING_SYSTEMS

_NUMBER = r"(?<![\w.$:%@?])-?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?!\w)"
_LITERALS = (
    r"'(?:[^']|'')*'?"
    # PostgreSQL's dollar quotes, whose tag is a name, and Oracle's q'[...]'.
    r"|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"
    r"|[qQ](?<![a-mo-zA-MO-Z0-9_].)'(?:\[.*?(?:\]'|\Z)|\(.*?(?:\)'|\Z)|\{.*?(?:\}'|\Z)"
    r"|<.*?(?:>'|\Z)|(?P<end>[!|~#^/]).*?(?:(?P=end)'|\Z))"
    rf"|{_NUMBER}"
)
# MySQL's and SQLite's strings; nobody compares with a table.
_COMPARED = r"(?<==)\s{0,4}\"[^\"]*\"(?!\.)"
_COMPARISON = re.compile(_COMPARED)
_LITERAL = re.compile(f"{_LITERALS}|{_COMPARED}", re.DOTALL)
_NUMBERS = re.compile(_NUMBER)

# An apostrophe inside of these opens no literal, so where there are both, they are read, too.
_APART = r"|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|(?P<name>`[^`]*`|\"(?:[^\"\\]|\\.)*\"?)"
_TOKEN = re.compile(f"{_LITERALS}|{_COMPARED}{_APART}", re.DOTALL)
_QUOTING_TOKEN = re.compile(_LITERALS + _APART, re.DOTALL)
_MARKS_APART = ('"', "`", "--", "/*")

_VALUES = re.compile(r"\bvalues\b", re.IGNORECASE)
_UNESCAPED = re.compile(r"\\.|(')", re.DOTALL)

# What errors quote of a statement: SQLAlchemy's, PostgreSQL's and MySQL's. What stands before the
# quotation, where it ends, and whether it may begin inside of a literal.
_QUOTATIONS = (
    ("[SQL: ", re.compile(r"\[SQL: "), re.compile(r"\]\n|\Z"), False),
    ("LINE ", re.compile(r"\bLINE \d{1,6}: "), re.compile(r"\n|\Z"), False),
    ("to use near '", re.compile("to use near '"), re.compile(r"' at line \d|\Z"), True),
)
_CUT = "..."


def without_literals(statement: str, system: str = "") -> str:
    """
    Return a statement with ``?`` for each literal.

    Args:
        statement: SQL, or a language like it.
        system: The value of ``db.system.name``: in some, ``"..."`` is a text.
    """
    if "\\'" in statement:
        # An escaped quote in MySQL, an ordinary backslash in PostgreSQL: whatever is between the
        # first quote and the last one may be in a literal, and behind it, where one is open.
        is_open = sum(map(bool, _UNESCAPED.findall(statement))) % 2
        start, end = statement.index("'"), statement.rindex("'") + 1
        statement = f"{statement[:start]}?{'' if is_open else statement[end:]}"
    quotes = '"' in statement
    values = _VALUES.search(statement) if quotes else None
    # A list of values holds no names of columns, whatever the system is.
    texts = 0 if system in QUOTING_SYSTEMS else values.end() if values else len(statement)
    is_mixed = "'" in statement or "$" in statement
    if (is_mixed and any(mark in statement for mark in _MARKS_APART)) or (
        quotes and ('"' in statement[texts:] or _COMPARISON.search(statement))
    ):
        token = _TOKEN if texts else _QUOTING_TOKEN
        return token.sub(partial(_without_literal, texts), statement)
    return _LITERAL.sub("?", statement)


def without_quoted_literals(text: str) -> str:
    """Return a text in which the statements that errors quote have no literals."""
    for needle, opening, closing, is_ambiguous in _QUOTATIONS:
        if needle not in text:
            continue
        parts: list[str] = []
        done = 0
        while (opened := opening.search(text, done)) is not None:
            closed = closing.search(text, opened.end())
            end = closed.start() if closed else len(text)
            quotation = text[opened.end() : end]
            parts += (
                text[done : opened.end()],
                _without_excerpt(quotation, is_ambiguous=is_ambiguous),
            )
            done = end
        text = "".join((*parts, text[done:]))
    return text


def _without_literal(texts: int, match: re.Match[str]) -> str:
    """Return what one token becomes; behind ``texts`` a ``"..."`` is no name."""
    comment, name = match.group("comment", "name")
    if comment:
        end = "*/" if comment.endswith("*/") else ""
        return _LITERAL.sub("?", comment.removesuffix(end)) + end
    if not name or (name[0] == '"' and match.start() >= texts):
        return "?"
    is_closed = len(name) > 1 and name[-1] == name[0]
    return _NUMBERS.sub("?", name) if is_closed else name[0] + _LITERAL.sub("?", name[1:])


def _without_excerpt(excerpt: str, *, is_ambiguous: bool) -> str:
    if "'" in excerpt:
        if is_ambiguous and excerpt.count("'") % 2:
            return "?"
        if excerpt.startswith(_CUT):
            # Whether this is inside of a literal nobody knows, but the last quote closes one.
            rest = "" if excerpt.rstrip().endswith(_CUT) else excerpt.rpartition("'")[2]
            return f"{_CUT}?{without_literals(rest)}"
    return without_literals(excerpt)
