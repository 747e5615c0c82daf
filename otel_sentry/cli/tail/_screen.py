"""Print in a terminal: lines that stay, and below them a picture that is drawn anew."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

from otel_sentry.cli.tail._text import print_line

_MIN_WIDTH = 60  # narrower, the waterfall's lines wrap, and nobody knows how many they are


class Screen:
    """
    Standard output, where what was drawn last can be drawn over.

    It needs nothing but two of the oldest escape sequences (cursor up, erase below), so it works
    over ssh, in tmux and without colour. What is no terminal gets the lines alone.
    """

    def __init__(self, output: TextIO | None = None) -> None:
        self._output = output or sys.stdout
        self._drawn = 0  # lines of the picture

    @property
    def is_live(self) -> bool:
        """Whether a picture can be drawn here."""
        columns = shutil.get_terminal_size().columns
        dumb = os.environ.get("TERM", "dumb") == "dumb"
        return self._output.isatty() and not dumb and columns >= _MIN_WIDTH

    def draw(self, text: str) -> None:
        """Replace the picture; what does not fit on the screen is left out at its top."""
        rows = max(1, shutil.get_terminal_size().lines - 2)
        lines = text.splitlines()[-rows:]
        self.erase()
        if lines:
            print_line("\n".join(lines), self._output)
        self._drawn = len(lines)

    def erase(self) -> None:
        """Take the picture away, so that lines can be printed that stay."""
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="", file=self._output, flush=True)
            self._drawn = 0
