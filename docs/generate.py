"""Write the generated parts of the docs; `--check` fails where they are not up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from otel_sentry.settings import VARIABLES, Variable

PAGE = Path(__file__).with_name("configuration.md")
START, END = "<!-- variables: make docs -->\n", "<!-- end of variables -->\n"


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


def generate(page: str) -> str:
    """Return the page with its generated part renewed."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{variables_table()}\n{END}{after}"


def main() -> int:
    """Write the page, or compare it."""
    page = PAGE.read_text()
    new = generate(page)
    if "--check" in sys.argv:
        return int(new != page)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
