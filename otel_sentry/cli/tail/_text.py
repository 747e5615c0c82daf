"""Make received text safe and fit for a terminal."""

from __future__ import annotations

import sys
import unicodedata
from typing import TextIO


def clean(text: str) -> str:
    """
    Return the text as one line without anything a terminal could obey.

    Control characters (ESC starts colours, cursor moves and clipboard writes), text direction
    marks and lone surrogates become U+FFFD; white space becomes one space.
    """
    printable = (
        char if char.isprintable() else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
    return " ".join("".join(printable).split())


def cells(text: str) -> int:
    """Return how many columns the text takes."""
    return sum(map(_cells, text))


def shorten(text: str, width: int, ellipsis: str) -> str:
    """Cut the text so that it takes at most `width` columns, the ellipsis included."""
    if cells(text) <= width:
        return text
    room, kept = width - cells(ellipsis), 0
    for char in text:
        room -= _cells(char)
        if room < 0:
            break
        kept += 1
    return f"{text[:kept].rstrip()}{ellipsis}"


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print at once, with "?" for what the encoding of `file` (standard output) cannot say."""
    file = file or sys.stdout
    encoding = getattr(file, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), file=file, flush=True)


def _cells(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
