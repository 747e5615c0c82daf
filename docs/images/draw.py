"""
Draw what `otel-sentry demo` shows: in the terminal, and in Spotlight, Sentry's local viewer.

The first is `waterfall.svg` and a part of README.md; a test compares both with a run. The second
needs npm and Chromium; where one is missing it says so and keeps the picture.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from html import escape, unescape
from pathlib import Path

from otel_sentry.cli._demo_processes import free_port

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
COLUMNS = 100

_CELL, _LINE, _MARGIN = 7.8, 19, 20  # pixels of a column and a line at 13 px
_STYLES = """text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#e6e1f5}
.head{font-weight:700}.tree{fill:#7d7498}.op{fill:#6fd3e3}.service{fill:#e58fd0}.bar{fill:#7c9cff}
.time{fill:#b9b2cf}"""

_SPAN = re.compile(
    r"(?P<tree>[│├└─ ]*)(?P<mark>▶ )?(?P<op>[a-z_.]+) (?P<text>.*?)(?P<service> · [\w-]+)?"
    r"(?P<gap> +)(?P<bar>━+) +(?P<time>[\d.]+ m?s)"
)

_PART = re.compile(r'<text class="(\w+)"[^>]*>([^<]*)<')
_README = re.compile(r"(<!-- the demo's order: make pictures -->\n\n```\n).*?(```\n)", re.DOTALL)


def demo(*arguments: str) -> str:
    """Return what the demo prints."""
    command = [sys.executable, "-m", "otel_sentry.cli", "demo", *arguments]
    environ = {**os.environ, "COLUMNS": str(COLUMNS), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(  # noqa: S603 - our own command
        command, env=environ, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return done.stdout


def waterfall(output: str) -> list[str]:
    """Return the lines of the order's trace."""
    _, _, rest = output.partition("The order, from the web application to the worker:\n\n")
    return rest.partition("\n\n")[0].splitlines()


def spans(lines: list[str]) -> list[str]:
    """Return op, description and service of each line, sorted: what every run has in common."""
    found = (_SPAN.fullmatch(line) for line in lines[1:])
    return sorted(f"{one['op']} {one['text']}{one['service'] or ''}" for one in found if one)


def drawn(picture: str) -> list[str]:
    """Return the same of what `svg` made."""
    rows = [dict(_PART.findall(row)) for row in picture.splitlines()]
    return sorted(
        unescape(f"{row['op']} {row['text']} {row.get('service', '')}".strip())
        for row in rows
        if "op" in row
    )


def svg(lines: list[str]) -> str:
    """Return the lines as a picture of a terminal."""
    width, height = COLUMNS * _CELL + 2 * _MARGIN, len(lines) * _LINE + 2 * _MARGIN
    rows = [_row(line, _MARGIN + 14 + number * _LINE) for number, line in enumerate(lines)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">\n'
        "<title>otel-sentry demo: the trace of one order</title>\n"
        f"<style>{_STYLES}</style>\n"
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#1c1730"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def _row(line: str, y: float) -> str:
    match = _SPAN.fullmatch(line)
    if match is None:
        return _text("head", line, 0, y)
    parts = [(name, name, match[name]) for name in ("tree", "op", "text", "service", "bar", "time")]
    parts.append(("head", "mark", match["mark"]))
    return "".join(_text(css, text, match.start(name), y) for css, name, text in parts if text)


def _text(css: str, text: str, column: int, y: float) -> str:
    # Each part at its own place and width: it fits whatever font the reader has.
    text = text.rstrip()
    column += len(text) - len(text.lstrip(" "))
    text = text.lstrip(" ")
    place = f'x="{_MARGIN + column * _CELL:.1f}" y="{y}" textLength="{len(text) * _CELL:.1f}"'
    return f'<text class="{css}" {place} xml:space="preserve">{escape(text)}</text>' if text else ""


def spotlight(picture: Path) -> str | None:
    """Take the picture of the order in Spotlight; return what is missing, if anything is."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    npm, node = shutil.which("npm"), shutil.which("node")
    if not (browser and npm and node):
        return "npm and Chromium are needed"
    with tempfile.TemporaryDirectory(prefix="otel-sentry-") as name:
        for file in ("package.json", "spotlight.mjs"):
            shutil.copy(HERE / file, name)
        subprocess.run([npm, "install", "--silent"], cwd=name, check=True)  # noqa: S603
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        command = [str(Path(name, "node_modules/.bin/spotlight")), "server", "-p", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
        try:
            _wait_for(f"{address}/health")
            demo("--dsn", f"http://public@127.0.0.1:{port}/1")
            take = [node, "spotlight.mjs", address, "POST /orders", browser, str(picture)]
            subprocess.run(take, cwd=name, check=True)  # noqa: S603
        finally:
            server.terminate()
            server.wait()
    return None


def _wait_for(url: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(url):
        if time.monotonic() > deadline:
            message = f"{url} does not answer"
            raise TimeoutError(message)
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - on this machine
    except OSError:
        return False
    return True


def main() -> int:
    """Draw both."""
    lines = waterfall(demo())
    (HERE / "waterfall.svg").write_text(svg(lines), encoding="utf-8")
    text = "\n".join(lines) + "\n"
    old = README.read_text("utf-8")
    README.write_text(_README.sub(lambda match: match[1] + text + match[2], old), "utf-8")
    missing = spotlight(HERE / "spotlight.png")
    if missing:
        print(f"spotlight.png stays as it is: {missing}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
