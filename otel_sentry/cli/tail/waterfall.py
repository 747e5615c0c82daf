"""Print a trace as a waterfall of text: a line a span, errors below the span they belong to."""

from __future__ import annotations

import io
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from otel_sentry.cli.tail._text import cells, clean, print_line, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.tail.trace import Error, Node, Trace

# A trace of thousands of spans would push everything else out of the terminal.
_MAX_SPANS = 200

# Columns.
_MIN_WIDTH = 60
_MAX_WIDTH = 160
_DURATION_WIDTH = 9
_MIN_TEXT = 12  # of op and description
_MAX_EXTRA = 20  # of service, and of status

_FINE = frozenset({"", "ok", "unset"})

# Pieces of a line: what to print, and its style for rich.
_Line = list[tuple[str, str]]

# For each level above a span, and for its own: does that level go on below it?
_Guides = tuple[bool, ...]

_BLANK = "   "


@dataclass(frozen=True)
class _Glyphs:
    branch: str
    last: str
    passing: str
    segment: str
    error: str
    message: str
    bar: str
    dot: str
    ellipsis: str


_UNICODE = _Glyphs("├─ ", "└─ ", "│  ", "▶ ", "✗ ", "! ", "━", "·", "…")
_ASCII = _Glyphs("|- ", "`- ", "|  ", "> ", "x ", "! ", "=", "-", "...")


def print_trace(trace: Trace, file: TextIO | None = None, *, updated: bool = False) -> None:
    """
    Print a trace to `file` (default: standard output), as wide and colourful as that allows.

    Args:
        trace: What `trace.build_traces` returned.
        file: Colour needs a terminal, rich, and no NO_COLOR variable (https://no-color.org).
        updated: Say that an earlier print of the trace was incomplete.
    """
    output: TextIO = file or sys.stdout
    print_line(fitted(trace, output, updated=updated), output)


def fitted(trace: Trace, output: TextIO, *, updated: bool = False) -> str:
    """Return the waterfall as wide and colourful as `output` allows; see `print_trace`."""
    terminal = output.isatty()
    # Read as others do: COLUMNS, else the terminal; what goes into a file is 80 columns wide.
    width = shutil.get_terminal_size().columns if terminal or "COLUMNS" in os.environ else 80
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    encoding = getattr(output, "encoding", None) or "utf-8"
    ascii_only = not _can_encode("".join(vars(_UNICODE).values()), encoding)
    return render(trace, width=width, color=color, ascii_only=ascii_only, updated=updated)


def render(
    trace: Trace,
    *,
    width: int = 80,
    color: bool = False,
    ascii_only: bool = False,
    updated: bool = False,
) -> str:
    """
    Return the waterfall, without a line break at its end.

    Args:
        trace: What `trace.build_traces` returned.
        width: Columns; held between 60 and 160.
        color: With ANSI colours, where rich is installed.
        ascii_only: With ASCII in place of lines and symbols; received text stays.
        updated: Say that an earlier print of the trace was incomplete.
    """
    glyphs = _ASCII if ascii_only else _UNICODE
    waterfall = _Waterfall(trace, glyphs, max(_MIN_WIDTH, min(width, _MAX_WIDTH)))
    lines = list(waterfall.lines(updated=updated))
    plain = "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
    return _colored(lines, plain) if color else plain


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True


def _colored(lines: list[_Line], plain: str) -> str:
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        return plain
    buffer = io.StringIO()
    console = Console(
        file=buffer, force_terminal=True, color_system="standard", no_color=False, width=_MAX_WIDTH
    )
    for line in lines:
        # Text takes received data literally, where a str would be parsed as markup.
        console.print(Text.assemble(*line), soft_wrap=True)
    return buffer.getvalue().rstrip("\n")


class _Waterfall:
    """One trace in one width: a label, a bar on the trace's timeline and a duration a line."""

    def __init__(self, trace: Trace, glyphs: _Glyphs, width: int) -> None:
        self._trace = trace
        self._glyphs = glyphs
        self._width = width
        self._bar_width = width // 4
        self._label_width = width - self._bar_width - _DURATION_WIDTH - 2
        # Where a tree is deeper, its outer levels are cut off, so that room is left for text.
        self._max_depth = (self._label_width - _MIN_TEXT) // len(_BLANK) - 2

    def lines(self, *, updated: bool) -> Iterator[_Line]:
        yield self._header(updated=updated)
        hidden: list[Error] = []
        for number, (node, guides) in enumerate(_walk(self._trace.roots)):
            if number >= _MAX_SPANS:
                hidden += node.errors
                continue
            yield self._span(node, guides)
            for error in node.errors:
                yield self._error(error, self._indent((*guides, bool(node.children))))
        if self._trace.span_count > _MAX_SPANS:
            count = _count(self._trace.span_count - _MAX_SPANS, "more span")
            yield [(f"{self._glyphs.ellipsis} {count}", "dim")]
        for error in hidden:
            yield self._error(error, "")
        for error in self._trace.errors:  # nothing above them says where
            yield self._error(error, "", where=clean(error.transaction))

    def _header(self, *, updated: bool) -> _Line:
        trace, separator = self._trace, f" {self._glyphs.dot} "
        facts = [
            _count(trace.span_count, "span"),
            *([_count(trace.error_count, "error")] if trace.error_count else []),
            *([_duration(trace.duration)] if trace.span_count else []),
            *(["updated"] if updated else []),
        ]
        rest = separator + separator.join(facts)
        return [(f"trace {self._fit(trace.trace_id, self._width - len(rest) - 6)}{rest}", "bold")]

    def _span(self, node: Node, guides: _Guides) -> _Line:
        label = self._label(node, guides)
        gap = self._label_width - sum(cells(text) for text, _ in label) + 1
        begin, length = self._bar(node)
        bar = self._glyphs.bar * length
        after = self._bar_width - begin - length + 1
        duration = f"{_duration(node.duration):>{_DURATION_WIDTH}}"
        style = "bold blue" if node.is_segment else "blue"
        return [*label, (" " * (gap + begin), ""), (bar, style), (" " * after, ""), (duration, "")]

    def _label(self, node: Node, guides: _Guides) -> _Line:
        """Return what a span is; the description gives way, for the rest is short."""
        start = self._branch(guides)
        marker = self._glyphs.segment if node.is_segment else ""
        room = self._label_width - cells(start) - cells(marker)
        status, service = clean(node.status).lower(), clean(node.service)
        end: _Line = []
        if status not in _FINE:
            end.append((f" [{self._fit(status, _MAX_EXTRA)}]", "red"))
        if service:
            end.append((f" {self._glyphs.dot} {self._fit(service, _MAX_EXTRA)}", "magenta"))
        while end and room - sum(cells(text) for text, _ in end) < _MIN_TEXT:
            end.pop()
        room -= sum(cells(text) for text, _ in end)
        op = self._fit(node.op, room // 2)
        op += " " if op else ""
        name = self._fit(node.description, room - cells(op))
        name_style = "bold" if node.is_segment else ""
        return [(start, "dim"), (marker, "bold"), (op, "cyan"), (name, name_style), *end]

    def _bar(self, node: Node) -> tuple[int, int]:
        """Return where a span's bar begins, and its length; at least one column is seen."""
        scale = self._bar_width / (self._trace.duration or 1.0)
        # The hundredth of a column makes up for floats that are a hair too small.
        begin = int((node.start - self._trace.start) * scale + 0.01)
        begin = max(0, min(begin, self._bar_width - 1))
        return begin, max(1, min(round(node.duration * scale), self._bar_width - begin))

    def _error(self, error: Error, indent: str, where: str = "") -> _Line:
        is_error = error.level in {"error", "fatal"}
        marker = self._glyphs.error if is_error else self._glyphs.message
        text = ": ".join(part for part in (clean(error.type), clean(error.value)) if part)
        room = self._width - cells(indent) - cells(marker)
        end = f" {self._glyphs.dot} in {self._fit(where, room // 3)}" if where else ""
        text = self._fit(text, room - cells(end))
        style = "red" if is_error else "yellow"
        return [(indent, "dim"), (marker + text, style), *([(end, "magenta")] if end else [])]

    def _branch(self, guides: _Guides) -> str:
        """Return the lines of the tree that lead to a span."""
        if not guides:
            return ""
        branch = self._glyphs.branch if guides[-1] else self._glyphs.last
        return self._indent(guides[:-1]) + branch

    def _indent(self, guides: _Guides) -> str:
        """Return the lines of the tree that pass by."""
        cut = len(guides) > self._max_depth
        guides = guides[-self._max_depth :]
        lines = "".join(self._glyphs.passing if guide else _BLANK for guide in guides)
        return f"{self._glyphs.ellipsis}{lines}" if cut else lines

    def _fit(self, text: str, width: int) -> str:
        return shorten(clean(text), width, self._glyphs.ellipsis)


def _walk(roots: list[Node]) -> Iterator[tuple[Node, _Guides]]:
    """Yield the spans from top to bottom, each with: does level N go on below it?"""
    pending: list[tuple[Node, _Guides]] = [(root, ()) for root in reversed(roots)]
    while pending:
        node, guides = pending.pop()
        yield node, guides
        last = len(node.children) - 1
        children = [(child, (*guides, at < last)) for at, child in enumerate(node.children)]
        pending += reversed(children)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 0.001:  # noqa: PLR2004
        return f"{seconds * 1000:.2f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1e6:  # noqa: PLR2004
        return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"  # noqa: PLR2004
    return f"{seconds / 86400:.0f} d"  # somebody's clock is wrong
