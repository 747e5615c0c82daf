"""What is run together: one row, one virtual environment."""

from __future__ import annotations

from dataclasses import dataclass, field

# The libraries of the application, all at their newest; a row changes one of them.
NEWEST = {
    "fastapi": "",
    "uvicorn": "",
    "sqlalchemy": "",
    "redis": "",
    "celery": "",
    "sentry-sdk": "",
}

# The floors of pyproject.toml and of the libraries, together: nothing may need a newer one.
OLDEST = {
    "sentry-sdk": "==2.60.0",
    "fastapi": "==0.115.0",
    "uvicorn": "==0.30.0",
    "sqlalchemy": "==1.4.*",
    "redis": "==5.0.*",
    "celery": "==5.3.*",
    "kombu": "==5.3.*",
}
_OPENTELEMETRY_FLOOR = {
    "opentelemetry-sdk": "==1.45.0",
    "opentelemetry-exporter-otlp-proto-http": "==1.45.0",
    "opentelemetry-instrumentation": "==0.66b0",
    "opentelemetry-instrumentation-fastapi": "==0.66b0",
    "opentelemetry-instrumentation-sqlalchemy": "==0.66b0",
    "opentelemetry-instrumentation-redis": "==0.66b0",
    "opentelemetry-instrumentation-celery": "==0.66b0",
}


@dataclass(frozen=True)
class Row:
    """
    One combination of versions.

    Attributes:
        name: What is special about it.
        changes: Version specifiers by distribution, beside `NEWEST`.
        python: The interpreter, e.g. `3.12`; empty: the one that runs this.
        server: `uvicorn`, or `gunicorn` with uvicorn's worker.
        in_ci: Whether each run of CI has it.
    """

    name: str
    changes: dict[str, str] = field(default_factory=dict)
    python: str = ""
    server: str = "uvicorn"
    in_ci: bool = False

    @property
    def requirements(self) -> list[str]:
        """What pip is asked for, in a fixed order."""
        return sorted(f"{name}{version}" for name, version in {**NEWEST, **self.changes}.items())


ROWS = (
    Row("all oldest", {**OLDEST, **_OPENTELEMETRY_FLOOR}, in_ci=True),
    Row("all newest", in_ci=True),
    Row("sentry-sdk 3 beta", {"sentry-sdk": "==3.0.0b2"}, in_ci=True),
    Row("sentry-sdk 2.60", {"sentry-sdk": "==2.60.0"}),
    Row("OpenTelemetry 1.45.0", _OPENTELEMETRY_FLOOR),
    Row("FastAPI 0.115", {"fastapi": "==0.115.*"}),
    Row("SQLAlchemy 1.4", {"sqlalchemy": "==1.4.*"}),
    Row("SQLAlchemy 2.0", {"sqlalchemy": "==2.0.*"}),
    # Celery 5.6 and later need redis-py 6.
    Row("redis-py 5", {"redis": "==5.*", "celery": "==5.5.*", "kombu": "==5.5.*"}),
    *(Row(f"redis-py {major}", {"redis": f"=={major}.*"}) for major in (6, 7)),
    *(Row(f"Celery 5.{minor}", {"celery": f"==5.{minor}.*"}) for minor in (3, 4, 5, 6)),
    Row("gunicorn", {"gunicorn": "", "uvicorn-worker": ""}, server="gunicorn"),
    *(Row(f"Python {python}", python=python) for python in ("3.10", "3.12", "3.13", "3.14")),
)
