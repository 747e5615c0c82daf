"""The command `otel-sentry`: one module a subcommand, which imports what it needs when it runs."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING

from otel_sentry.__about__ import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each is a module here with add_parser(subparsers), which sets `func`. Importing it costs nothing
# but argparse, so that --help is fast and works without the optional libraries.
_SUBCOMMANDS = ("collector_config", "demo", "doctor", "tail")

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    args = _parser().parse_args(argv)
    try:
        return int(args.func(args))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Who read our output (head, less) is gone; Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-sentry", description="OpenTelemetry for teams that use Sentry."
    )
    parser.add_argument("--version", action="version", version=f"otel-sentry {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in _SUBCOMMANDS:
        importlib.import_module(f"otel_sentry.cli.{name}").add_parser(subparsers)
    return parser
