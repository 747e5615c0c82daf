from __future__ import annotations

import logging
import signal
import threading
from importlib.metadata import version

import hypothesis
import pytest
import sentry_sdk
from sentry_sdk.scope import global_event_processors

from otel_sentry._logging import logger
from otel_sentry.cli.tail.receiver import Receiver
from otel_sentry.errors import adoption, linking
from tests.relay import left_to_strip
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape in a report what pytest-xdist cannot send: lone surrogates, of hostile input."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def redis_url():
    """Return the URL of a real Redis for the whole run."""
    with redis_server() as url:
        yield url


@pytest.fixture(scope="session")
def received():
    """Return what arrives at any receiver of this process: errors, messages and transactions."""
    events = []
    keep = Receiver._keep

    def keep_and_note(receiver, request):
        keep(receiver, request)
        events.extend(i.fields for i in request.items if i.kind in {"error", "transaction"})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Receiver, "_keep", keep_and_note)
        yield events


@pytest.fixture(autouse=True)
def own_logger():
    """Let no test find our logger as another one, or a library it has loaded, left it."""
    for thread in threading.enumerate():  # what another test has left to end may log then
        if thread.name == "otel-sentry.end":
            thread.join(5)
    logging.disable(logging.NOTSET)
    logger.setLevel(logging.NOTSET)
    logger.disabled, logger.propagate = False, True
    del logger.handlers[:], logger.filters[1:]
    logger.filters[0]._last_said.clear()


@pytest.fixture(autouse=True)
def own_client():
    """Leave the next test no client of sentry-sdk, and nobody who adopts those that it makes."""
    adopters, base = list(adoption._adopters), list(linking._base_scope)
    client, processors = sentry_sdk.get_global_scope().client, list(global_event_processors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentry_sdk.Scope, "set_client", sentry_sdk.Scope.set_client)
        yield
    adoption._adopters[:], linking._base_scope[:] = adopters, base
    sentry_sdk.get_global_scope().set_client(client)
    added = global_event_processors[len(processors) :]  # others stay: integrations add them once
    global_event_processors[:] = [*processors, *(i for i in added if i is not adoption._process)]


@pytest.fixture(autouse=True)
def nothing_left_to_strip(request, received):
    """Let Sentry's own scrubber find nothing in any event that a test's receiver gets."""
    yield
    events, received[:] = list(received), []
    if request.node.get_closest_marker("unscrubbed") is None:
        assert [line for event in events for line in left_to_strip(event)] == []
