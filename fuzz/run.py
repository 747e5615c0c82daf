"""
Fuzz one target with atheris, guided by coverage.

    python fuzz/run.py headers [-max_total_time=60 and other options of libFuzzer]

The targets are those of ``fuzz/targets.py``; ``make fuzz`` runs each for a minute.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


def main() -> int:
    """Run what the command line names."""
    try:
        import atheris
    except ImportError:
        print("atheris is missing: pip install atheris (Linux and macOS, CPython 3.11 to 3.13)")
        return 2
    with atheris.instrument_imports(include=["otel_sentry"]):
        from fuzz.targets import SEEDS, TARGETS
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        print(f"name one of the targets: {', '.join(TARGETS)}")
        return 2
    logging.getLogger("otel_sentry").setLevel(logging.CRITICAL)  # millions of warnings
    name = sys.argv.pop(1)
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([*sys.argv, str(corpus)], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
