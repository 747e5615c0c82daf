"""
Run the core of every row, print and keep what came of it.

    python -m tests.compatibility.run [--ci] [--only TEXT] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli._demo_processes import ProcessFailedError
from tests.compatibility import environments
from tests.compatibility.core import problems
from tests.compatibility.rows import ROWS
from tests.servers import redis_server

if TYPE_CHECKING:
    from tests.compatibility.rows import Row


def main() -> int:
    """Return 1 where a row fails, or none ran."""
    arguments = _parser().parse_args()
    chosen = [row for row in ROWS if arguments.only.lower() in row.name.lower()]
    if arguments.ci:
        chosen = [row for row in chosen if row.in_ci]
    results = []
    with environments.scratch() as scratch, redis_server() as redis:
        wheel = environments.build_wheel(Path(scratch))
        for number, row in enumerate(chosen):
            started = time.monotonic()
            directory = Path(scratch) / str(number)
            directory.mkdir()
            # Databases 1 to 15 of the server: a row's tasks must not meet another's worker.
            database = f"{redis.rpartition('/')[0]}/{number % 15 + 1}"
            results.append(_run(row, wheel, directory, database))
            seconds = time.monotonic() - started
            print(f"{row.name:22} {results[-1]['result']} ({seconds:.0f} s)", flush=True)
            for problem in results[-1]["problems"]:
                print(f"    {problem}", flush=True)
    if arguments.json:
        kept = [result for result in results if result["result"] != "no interpreter"]
        Path(arguments.json).write_text(json.dumps(kept, indent=1) + "\n")
    of = Counter(result["result"] for result in results)
    print(f"{of['passes']} passed, {of['fails']} failed, {of['no interpreter']} skipped")
    return bool(of["fails"] or not of["passes"])


def _run(row: Row, wheel: Path, directory: Path, redis_url: str) -> dict:
    found: list[str] = []
    versions: dict[str, str] = {}
    try:
        home = environments.make(row, wheel)
        versions = environments.versions(home)
        found = problems(home / "bin", directory, redis_url, row.server)
    except environments.MissingPythonError:
        return {"row": row.name, "versions": {}, "result": "no interpreter", "problems": []}
    except subprocess.CalledProcessError as error:
        found = [f"cannot be installed: {error.output}"]
    except (ProcessFailedError, TimeoutError) as error:
        logs = [f"{log.name}: {log.read_text()[-2000:]}" for log in directory.glob("*.log")]
        found = [str(error), *logs]
    result = "fails" if found else "passes"
    return {"row": row.name, "versions": versions, "result": result, "problems": found}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run the core on other versions.")
    parser.add_argument("--ci", action="store_true", help="only the rows of every CI run")
    parser.add_argument("--only", default="", help="only rows with this in their name")
    parser.add_argument("--json", help="write the results there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
