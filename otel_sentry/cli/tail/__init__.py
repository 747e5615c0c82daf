"""`otel-sentry tail`: shows what services on this machine would send to Sentry."""

from __future__ import annotations

import argparse
import math

_DEFAULT_PORT = 8969  # Spotlight's: a service with SENTRY_SPOTLIGHT=1 sends there unasked


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "tail",
        help="show traces and errors of local services as they arrive",
        description="Listen on this machine where Sentry would be, and print each trace as a "
        "waterfall with its errors.",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=_DEFAULT_PORT,
        help="where to listen (default: %(default)s); 0 picks a free port",
    )
    parser.add_argument(
        "--json", action="store_true", help="print each received item as one line of JSON instead"
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="print a trace when nothing of it arrived for so long (default: %(default)g)",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print what arrives until Ctrl-C; return 2 if the port cannot be had."""
    from otel_sentry.cli.tail._follow import follow

    return follow(port=args.port, as_json=args.json, wait=args.wait)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 65535):  # noqa: PLR2004
        message = f"{text!r} is not a port: use 1 to 65535, or 0 for a free one"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:  # noqa: PLR2004
        message = f"{text!r} is not a number of seconds: use 0 to 3600"
        raise argparse.ArgumentTypeError(message)
    return seconds
