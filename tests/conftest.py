from __future__ import annotations

import signal
from importlib.metadata import version

import hypothesis
import pytest

from tests.servers import redis_server

# A shell that runs the tests in the background lets them, and all their children, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine makes no test wrong.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_report_header() -> str:
    """Name the versions under test."""
    names = ("opentelemetry-sdk", "opentelemetry-instrumentation", "sentry-sdk", "sqlalchemy")
    return ", ".join(f"{name} {version(name)}" for name in names)


@pytest.fixture(scope="session")
def redis_url():
    """Return the URL of a real Redis for the whole run."""
    with redis_server() as url:
        yield url
