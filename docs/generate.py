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


def overhead_tables() -> str:
    """Return the tables of what `make bench` measured last."""
    sys.path.append(str(HERE.parent / "benchmarks"))
    import report

    figures = json.loads((HERE / "benchmarks/overhead.json").read_text())
    about = figures["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    parts = [
        f"Measured on {about['date']}, {about['cores']} cores, Python {about['python']},",
        f"{versions}.\n",
        "## The limits\n",
        report.bars_table(figures),
        *_floor(report.floor_table(figures)),
        "## A trace without a framework\n",
        "CPU µs, request thread / all threads, by the number of children and the trace rate:\n",
        report.micro_table(figures),
        "## A request to a service\n",
        "CPU time of all its processes, as a multiple of (a), with the middle half of the rounds;",
        "and latencies at a fixed rate of requests, the same for all:\n",
        report.service_table(figures),
        "![CPU time of a request](benchmarks/overhead.svg)\n",
    ]
    return "\n".join(parts)


def _floor(table: str) -> list[str]:
    """Return what our own figures cannot be below, where it was measured."""
    plainest = (
        " (l) posts what the spans of the request say, as they say it: no scrubbing, none of"
        " Sentry's words and scopes, nothing counted."
        if "(l)" in table
        else ""
    )
    says = (
        "(j) is what (h) stands on: OpenTelemetry's spans, which go nowhere, and sentry-sdk for"
        " errors, of which there are none. (k) also posts, for each request, a transaction that was"
        f" made before and is always the same.{plainest} What is imported for them is kept from the"
        " garbage collector, as ours does. The rest of what (h) does comes on top; at lower rates"
        " it may be below them, as it spares sentry-sdk what spans make needless:\n"
    )
    return [says, table] if table else []


def compatibility_table() -> str:
    """Return the table of what `make compatibility` ran last."""
    rows = json.loads((HERE / "benchmarks/compatibility.json").read_text())
    shown = list(dict.fromkeys(name for row in rows for name in row["versions"]))
    lines = [f"| row | {' | '.join(shown)} | result |", "|---" * (len(shown) + 2) + "|"]
    newest = next(row["versions"] for row in rows if row["row"] == "all newest")
    for row in rows:
        cells = [_version(row["versions"].get(name, ""), newest.get(name)) for name in shown]
        lines.append(f"| {row['row']} | {' | '.join(cells)} | {row['result']} |")
    return "\n".join(lines) + "\n"


def _version(version: str, newest: str | None) -> str:
    """Return it, bold where it is another than in the row that has the newest of all."""
    return version if version in {"", newest} else f"**{version}**"


PARTS = {
    "configuration.md": ("variables", variables_table),
    "overhead.md": ("overhead", overhead_tables),
    "backends.md": ("backends", backends_table.table),
    "compatibility.md": ("compatibility", compatibility_table),
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
