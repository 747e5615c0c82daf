"""`otel-sentry doctor`: says why nothing arrives, and the one line that mends it."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "doctor",
        help="find out why traces or errors do not arrive",
        usage="otel-sentry doctor [options] [-- COMMAND ...]",
        description="Look at what a start from this shell would do: one line a finding, and below"
        " it what mends it. Nothing leaves the machine without --connect or --send, and no key is"
        " printed.",
        epilog="Exit status: 0 fine, 1 warnings, 2 errors (also of the command line itself).",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument(
        "--app",
        metavar="MODULE",
        help="also read, without running it, the code of this module or file, e.g. app:app",
    )
    parser.add_argument(
        "--connect",
        action="store_true",
        help="also open a connection to endpoints that are not on this machine",
    )
    parser.add_argument(
        "--send",
        action="store_true",
        help="send a test error and a test transaction the way the application would",
    )
    # For ourselves: the checks run in the Python of the command already.
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "command",
        nargs="*",
        metavar="COMMAND",
        help="the command that starts the application, e.g. -- uvicorn app:app",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 0, 1 for warnings, 2 for errors."""
    from otel_sentry.cli.doctor._examine import examine

    return examine(args)
