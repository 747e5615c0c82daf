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
    parser.add_argument(
        "--errors", action="store_true", help="only traces with an error, and errors without one"
    )
    parser.add_argument(
        "--slow",
        type=_duration,
        default=0.0,
        metavar="DURATION",
        help="only traces that took at least so long, e.g. 500ms or 1.5s",
    )
    parser.add_argument(
        "--trace",
        type=_trace_id,
        metavar="ID",
        help="only this trace: its id, or the first digits of it",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print what arrives until Ctrl-C; return 2 if the port cannot be had."""
    from otel_sentry.cli.tail._filters import Filters
    from otel_sentry.cli.tail._follow import follow

    filters = Filters(errors=args.errors, slow=args.slow, trace=args.trace or "")
    return follow(port=args.port, as_json=args.json, wait=args.wait, filters=filters)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 65535):  # noqa: PLR2004
        message = f"{text!r} is not a port: use 1 to 65535, or 0 for a free one"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _duration(text: str) -> float:
    """Read `500ms`, `1.5s` or `2` (seconds)."""
    unit = 0.001 if text.endswith("ms") else 1.0
    try:
        seconds = float(text.removesuffix("ms").removesuffix("s")) * unit
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        message = f"{text!r} is not a duration: use e.g. 500ms or 1.5s"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _trace_id(text: str) -> str:
    digits = text.replace("-", "").lower()
    if not digits or not set(digits) <= set("0123456789abcdef"):
        message = f"{text!r} is not a trace id: use its hexadecimal digits, or the first of them"
        raise argparse.ArgumentTypeError(message)
    return digits


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:  # noqa: PLR2004
        message = f"{text!r} is not a number of seconds: use 0 to 3600"
        raise argparse.ArgumentTypeError(message)
    return seconds
