"""The application's libraries: is each instrumented, and in the version that is installed?"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, ok, warning
from otel_sentry.cli.doctor._installed import (
    installed,
    needed_by,
    normal,
    pip_install,
    requirements,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.requirements import Requirement

    from otel_sentry.cli.doctor._situation import Situation

_PREFIX = "opentelemetry-instrumentation-"
_EXTRAS = frozenset({"fastapi", "sqlalchemy", "redis", "celery"})

# Libraries that do a request's work, and the instrumentation of each (without its prefix).
_WORK = {
    "aio-pika": "aio-pika",
    "aiohttp": "aiohttp-client",
    "aiokafka": "aiokafka",
    "asyncpg": "asyncpg",
    "botocore": "botocore",
    "celery": "celery",
    "confluent-kafka": "confluent-kafka",
    "django": "django",
    "fastapi": "fastapi",
    "flask": "flask",
    "grpcio": "grpc",
    "httpx": "httpx",
    "kafka-python": "kafka-python",
    "mysqlclient": "mysqlclient",
    "openai": "openai-v2",
    "pika": "pika",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "psycopg2-binary": "psycopg2",
    "pymemcache": "pymemcache",
    "pymongo": "pymongo",
    "pymysql": "pymysql",
    "redis": "redis",
    "requests": "requests",
    "sqlalchemy": "sqlalchemy",
    "starlette": "starlette",
}

# What is part of another library is traced with it.
_PART_OF = {"starlette": "fastapi", "psycopg": "sqlalchemy", "psycopg2": "sqlalchemy"}
_PART_OF |= {"psycopg2-binary": "sqlalchemy", "asyncpg": "sqlalchemy", "pymysql": "sqlalchemy"}
_PART_OF |= {"mysqlclient": "sqlalchemy"}


def libraries(situation: Situation) -> Iterator[Finding]:
    """Compare what is installed with what instruments it."""
    here = set(installed())
    # What telemetry itself works with (requests, grpcio) says nothing about the application.
    ours = needed_by(
        name for name in here if name == "otel-sentry" or name.startswith("opentelemetry-")
    )
    off = {
        name.strip()
        for name in situation.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    }
    traced = []
    for library, name in _WORK.items():
        if library not in here or library in ours or _PART_OF.get(library) in here:
            continue
        if not {name, "*"}.isdisjoint(off):
            yield warning(
                f"{library} is switched off by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
                f"remove {name} from it",
            )
        elif _PREFIX + name not in here:
            yield warning(f"{library} is not traced: no instrumentation is installed", _fix(name))
        elif refused := _refused(_PREFIX + name):
            found = f"{library} {version_of(library)}"
            if _beyond(library):
                traced.append(f"{found} (beyond {refused.specifier}, by otel-sentry)")
            else:
                yield warning(
                    f"{found} is not traced: {_PREFIX}{name} takes {refused.specifier} only",
                    pip_install(f"'{refused}'"),
                )
        else:
            traced.append(library)
    yield from _broken(off)
    if traced:
        yield ok(f"traced: {', '.join(traced)}")


def _fix(name: str) -> str:
    return pip_install(f"'otel-sentry[{name}]'" if name in _EXTRAS else _PREFIX + name)


def _refused(instrumentation: str) -> Requirement | None:
    """Return the range that the installed version is outside of, as the launcher looks for it."""
    for requirement in requirements(instrumentation, "instruments"):
        found = version_of(requirement.name)
        if found is not None and not requirement.specifier.contains(found, prereleases=True):
            return requirement
    return None


def _beyond(library: str) -> bool:
    """Return whether we instrument the installed version although its instrumentation refuses."""
    from packaging.specifiers import SpecifierSet

    try:
        module = import_module(f"otel_sentry.instrumentation.{library}")
    except ImportError:
        return False
    versions = getattr(module, "BEYOND", None)
    return versions is not None and SpecifierSet(versions).contains(version_of(library) or "0")


def _broken(off: set[str]) -> Iterator[Finding]:
    """Find instrumentations whose failure ends the set-up of all that follow."""
    here = installed()
    for entry_point in entry_points(group="opentelemetry_instrumentor"):
        if entry_point.name in off:
            continue
        name = normal(entry_point.dist.metadata["Name"]) if entry_point.dist is not None else "?"
        if any(normal(one.name) not in here for one in requirements(name, "instruments")):
            continue  # the launcher skips it
        try:
            entry_point.load()
        except ImportError as problem:
            yield warning(f"{name} cannot be imported: {problem}", pip_install(f"--upgrade {name}"))
        except (Exception, SystemExit) as problem:  # noqa: BLE001 - it is somebody's module
            yield warning(
                f"{name} fails to load, and the launcher stops there: {type(problem).__name__}:"
                f" {problem}",
                f"export OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={entry_point.name}",
            )
