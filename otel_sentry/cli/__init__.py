"""The command `otel-sentry`: one module a subcommand, which imports what it needs when it runs."""

from __future__ import annotations

import argparse
import contextlib
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

_FAILED = 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    args = _parser().parse_args(argv)
    if sys.stdout is None:  # closed, as `>&-` does
        return _failed("standard output is closed")
    try:
        status = int(args.func(args))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Who read our output (head, less) is gone.
        _discard_output()
        return 1
    except OSError as error:
        _discard_output()
        return _failed(str(error))
    return status


def _discard_output() -> None:
    """Let Python not complain again when it flushes."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(reason: str) -> int:
    if sys.stderr is not None:
        print(f"otel-sentry: {reason}", file=sys.stderr)
    return _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-sentry", description="OpenTelemetry for teams that use Sentry."
    )
    parser.add_argument("--version", action="version", version=f"otel-sentry {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in _SUBCOMMANDS:
        importlib.import_module(f"otel_sentry.cli.{name}").add_parser(subparsers)
    return parser
