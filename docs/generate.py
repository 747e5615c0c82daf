"""Write the generated parts of the docs; `--check` fails where they are not up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import backends_table

from otel_sentry.variables import VARIABLES, Variable

HERE = Path(__file__).parent


def variables_table() -> str:
    """Return the table of variables, from the one place where the defaults stand."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [f"| `{it.name}` | {_default(it)} | {it.meaning} |" for it in VARIABLES]
    return "\n".join(rows) + "\n"


def _default(variable: Variable) -> str:
    value = variable.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        value = ",".join(value)
    return "empty" if value in {"", None} else f"`{value}`"


_CONTENDERS = {
    "otel_off": "OpenTelemetry, sampled out",
    "otel": "OpenTelemetry, no processor",
    "ours": "**otel-sentry**",
    "sentry_native": "sentry-sdk, native tracing",
    "sentry_span_processor": "sentry-sdk, `SentrySpanProcessor`",
}


def overhead_table() -> str:
    """Return the table of what `make bench` measured last."""
    time = json.loads((HERE / "benchmarks/micro.json").read_text())
    instructions = json.loads((HERE / "benchmarks/instructions.json").read_text())

    def added(figures: dict[str, float], name: str) -> str:
        base, whole = figures["otel"], figures["sentry_span_processor"]
        return f"{(figures[name] - base) / (whole - base):.2f}" if name not in _BASES else ""

    request = {name: figures["request"] for name, figures in time.items()}
    total = {name: figures["total"] for name, figures in time.items()}
    rows = [
        "| | request thread, µs | added | all threads, µs | added | instructions, 1,000 | added |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    rows += [
        f"| {label} | {request[name]:.0f} | {added(request, name)}"
        f" | {total[name]:.0f} | {added(total, name)}"
        f" | {instructions[name] / 1000:,.0f} | {added(instructions, name)} |"
        for name, label in _CONTENDERS.items()
    ]
    return "\n".join(rows) + "\n"


_BASES = frozenset({"otel_off", "otel"})

PARTS = {
    "configuration.md": ("variables", variables_table),
    "overhead.md": ("overhead", overhead_table),
    "backends.md": ("backends", backends_table.table),
}


def generate(page: str, name: str, table: str) -> str:
    """Return the page with its generated part renewed."""
    start, end = f"<!-- {name}: make docs -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{table}\n{end}{after}"


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    for page, (name, table) in PARTS.items():
        text = (HERE / page).read_text()
        new = generate(text, name, table())
        if new != text:
            stale.append(page)
        if "--check" not in sys.argv:
            (HERE / page).write_text(new)
    if stale and "--check" in sys.argv:
        print(f"not up to date: {', '.join(stale)}; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
