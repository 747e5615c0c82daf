from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_sentry.cli.tail._text import cells, clean, shorten
from otel_sentry.cli.tail.trace import Error, Node, assemble
from otel_sentry.cli.tail.waterfall import print_trace, render

TRACE = "0123456789abcdef" * 2


def node(span_id, parent="", op="db", description="SELECT 1", start=0.0, duration=0.1, **fields):
    return Node(TRACE, span_id, parent, op, description, 1000 + start, duration, **fields)


def web_and_worker():
    long_statement = "SELECT id, total FROM orders WHERE account = %s"
    spans = [
        node("r", "", "http.server", "POST /orders", 0, 0.2, is_segment=True, service="web"),
        node("d", "r", "db", long_statement, 0.01, 0.05),
        node("p", "r", "queue.publish", "send_receipt", 0.1, 0.01),
        node("w", "p", "queue.process", "send_receipt", 0.2, 1.0, is_segment=True, service="job"),
        node("m", "w", "http.client", "POST https://mail", 0.3, 0.0004, status="internal_error"),
        node("u", "w", "db", "UPDATE orders", 0.5, 0.6),
    ]
    errors = [
        Error(TRACE, "m", "ConnectionError", "mail server refused"),
        Error(TRACE, "w", "", "trying again", "warning"),
        Error(TRACE, "?", "ValueError", "of a span that never came"),
    ]
    return assemble(TRACE, spans, errors)


def hostile(text):
    spans = [node("r", "", text, text, is_segment=True, service=text, status=text)]
    return assemble(text, spans, [Error(text, "r", text, text), Error(text, "", text, text)])


WATERFALL = """\
trace 0123456789abcdef0123456789abcdef · 6 spans · 3 errors · 1.20 s
▶ http.server POST /orders · web                  ━━━                   200.0 ms
├─ db SELECT id, total FROM orders WHERE account… ━                      50.0 ms
└─ queue.publish send_receipt                      ━                     10.0 ms
   └─ ▶ queue.process send_receipt · job             ━━━━━━━━━━━━━━━━━    1.00 s
      │  ! trying again
      ├─ http.client POST https… [internal_error]      ━                 0.40 ms
      │     ✗ ConnectionError: mail server refused
      └─ db UPDATE orders                                 ━━━━━━━━━━    600.0 ms
✗ ValueError: of a span that never came"""

ASCII_WATERFALL = """\
trace 0123456789abcdef0123456789abcdef - 6 spans - 3 errors - 1.20 s - updated
> http.server POST /orders - web                  ===                   200.0 ms
|- db SELECT id, total FROM orders WHERE accou... =                      50.0 ms
`- queue.publish send_receipt                      =                     10.0 ms
   `- > queue.process send_receipt - job             =================    1.00 s
      |  ! trying again
      |- http.client POST htt... [internal_error]      =                 0.40 ms
      |     x ConnectionError: mail server refused
      `- db UPDATE orders                                 ==========    600.0 ms
x ValueError: of a span that never came"""


def test_shows_the_tree_the_timeline_and_the_errors():
    """One look tells what called what, when, for how long, where and what went wrong."""
    assert render(web_and_worker()) == WATERFALL


def test_is_ascii_where_it_must_be():
    """A terminal without Unicode gets the same picture, and an updated trace says so."""
    text = render(web_and_worker(), ascii_only=True, updated=True)
    assert text == ASCII_WATERFALL
    assert text.isascii()


def test_colours_the_same_text():
    """Colour adds escape sequences and nothing else."""
    pytest.importorskip("rich")
    spans = [node("r", is_segment=True, service="web"), node("e", "r", status="aborted")]
    trace = assemble(TRACE, spans, [Error(TRACE, "e", "E", "[red]x[/red] :smile:")])
    colored = render(trace, color=True)
    assert colored == (
        "\x1b[1mtrace 0123456789abcdef0123456789abcdef · 2 spans · 1 error · 100.0 ms\x1b[0m\n"
        "\x1b[1m▶ \x1b[0m\x1b[36mdb \x1b[0m\x1b[1mSELECT 1\x1b[0m\x1b[35m · web\x1b[0m"
        "                               \x1b[1;34m━━━━━━━━━━━━━━━━━━━━\x1b[0m  100.0 ms\n"
        "\x1b[2m└─ \x1b[0m\x1b[36mdb \x1b[0mSELECT 1\x1b[31m [aborted]\x1b[0m"
        "                          \x1b[34m━━━━━━━━━━━━━━━━━━━━\x1b[0m  100.0 ms\n"
        "\x1b[2m      \x1b[0m\x1b[31m✗ E: [red]x[/red] :smile:\x1b[0m"
    )
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render(trace)


def test_works_without_rich(monkeypatch):
    """Colour is extra: without rich the text is plain."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert render(web_and_worker(), color=True) == WATERFALL


ATTACKS = [
    "\x1b]52;c;ZXZpbA==\x07",  # writes the clipboard
    "\x1b[2J\x1b[H",  # clears the screen
    "\x9b31m",  # the 8-bit form of ESC [
    "a\rb\nc\x08d\x00e",
    "\u202eevil",  # right to left
    "\u2028line",
    "\ud800",  # what no encoding can say
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("color", [False, True])
def test_received_text_cannot_command_the_terminal(attack, color):
    """Every field of a hostile service is printed as harmless text, also next to our colours."""
    text = render(hostile(attack), color=color)
    if color:
        text = re.sub(r"\x1b\[(0|[1-9][0-9]?(;[0-9]+)?)m", "", text)
    lines = text.split("\n")
    assert len(lines) == 4
    assert all(char.isprintable() for line in lines for char in line)


@given(st.text())
def test_cleaned_text_is_one_printable_line(text):
    """No control, format, surrogate or separator character is left; plain text is unchanged."""
    cleaned = clean(text)
    assert cleaned == "" or cleaned.isprintable()
    assert clean(cleaned) == cleaned


@given(st.text(), st.integers(min_value=3, max_value=100), st.sampled_from(["…", "..."]))
def test_shortened_text_fits(text, width, ellipsis):
    """Wide and combining characters count as a terminal counts them."""
    assert cells(shorten(text, width, ellipsis)) <= width


@pytest.mark.parametrize(
    ("text", "expected"), [("abcdef", "abc…"), ("日本語", "日…"), ("cafe\u0301", "cafe\u0301")]
)
def test_cuts_by_columns(text, expected):
    """Four columns hold four letters, accents or not, or one ideograph and the ellipsis."""
    assert shorten(text, 4, "…") == expected


@pytest.mark.parametrize("width", [10, 60, 80, 100, 1000])
@given(texts=st.lists(st.text(max_size=60), min_size=4, max_size=4), depth=st.integers(0, 40))
def test_every_line_fits(width, texts, depth):
    """Whatever the names and however deep the tree, no line is wider than the terminal."""
    op, description, status, service = texts
    spans = [
        node(
            f"{level}",
            f"{level - 1}",
            op,
            description,
            is_segment=level % 2 == 0,
            status=status,
            service=service,
        )
        for level in range(depth + 1)
    ]
    errors = [Error(TRACE, f"{depth}", description, description)]
    for line in render(assemble(TRACE, spans, errors), width=width).split("\n"):
        assert cells(line) <= max(60, min(width, 160))


def test_shows_two_hundred_spans_and_every_error():
    """A trace of thousands of spans leaves the rest of the terminal visible."""
    spans = [node("r"), *(node(f"{number}", "r") for number in range(5_000))]
    lines = render(assemble(TRACE, spans, [Error(TRACE, "4999", "E", "hidden")])).split("\n")
    assert len(lines) == 203
    assert lines[-2:] == ["… 4801 more spans", "✗ E: hidden"]


def test_a_deep_trace_needs_no_deep_stack():
    """Ten thousand spans, each below the one before, are no RecursionError."""
    spans = [node(f"{level}", f"{level - 1}") for level in range(10_000)]
    assert "9800 more spans" in render(assemble(TRACE, spans, []))


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0.00 ms"),
        (0.0004, "0.40 ms"),
        (0.0421, "42.1 ms"),
        (0.99999, "1000.0 ms"),
        (1.5, "1.50 s"),
        (120, "120 s"),
        (9e9, "104167 d"),
    ],
)
def test_durations_read_well(duration, text):
    """Three digits say enough; a broken clock does not break the line."""
    assert render(assemble(TRACE, [node("r", duration=duration)], [])).endswith(f" {text}")


def test_a_span_without_times_does_not_stretch_the_timeline():
    """A start that could not be read is no reason to draw fifty years."""
    broken = Node(TRACE, "b", "r", "", "", 0.0, 0.0)
    assert assemble(TRACE, [node("r"), broken], []).duration == pytest.approx(0.1)


def test_a_trace_of_errors_only():
    """What was sampled out still shows its errors."""
    trace = assemble(TRACE, [], [Error(TRACE, "x", "E", "boom")])
    assert render(trace) == f"trace {TRACE} · 0 spans · 1 error\n✗ E: boom"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_prints_colour_to_a_terminal(terminal):
    """A terminal gets colour where rich is installed."""
    pytest.importorskip("rich")
    print_trace(web_and_worker(), terminal)
    assert "\x1b[" in terminal.getvalue()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_prints_no_colour_where_it_is_unwanted(terminal, monkeypatch, name, value):
    """NO_COLOR and a dumb terminal are respected."""
    monkeypatch.setenv(name, value)
    print_trace(web_and_worker(), terminal)
    assert "\x1b" not in terminal.getvalue()


def test_prints_plain_text_into_a_file(monkeypatch, capsys):
    """What is piped is 80 columns of plain text."""
    monkeypatch.delenv("COLUMNS", raising=False)
    print_trace(web_and_worker())
    assert capsys.readouterr().out == WATERFALL + "\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_prints_what_the_encoding_can_say(encoding):
    """An output that is not Unicode gets ASCII lines, and ? for what it lacks."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_trace(assemble(TRACE, [node("r", description="日本 Zoë")], []), file)
    expected = {"ascii": "db ?? Zo?", "latin-1": "db ?? Zoë"}[encoding]
    assert expected in file.buffer.getvalue().decode(encoding)
