"""Set up twice, elsewhere, after a fork, after an end: each thing goes where it was meant to."""

from __future__ import annotations

from collections import Counter

from tests.faults.driver import run_script
from tests.faults.far_end import FarEnd

PRELUDE = """
import os, sys, application, sentry_sdk
from opentelemetry import trace
from otel_sentry import pipeline
from otel_sentry.settings import Settings

def named(name):
    with application.tracer.start_as_current_span(name, kind=trace.SpanKind.SERVER): pass

def flush():
    trace.get_tracer_provider().force_flush(10_000)

def configure(dsn):
    pipeline.configure(Settings.from_env({**os.environ, "SENTRY_DSN": dsn}))
"""


def names(far_end):
    return Counter(event["transaction"] for event in far_end.receiver.transactions())


def test_configured_twice(far_end):
    """A second call of the same changes nothing: one transaction, one error, one thread."""
    code = """
configure(os.environ["SENTRY_DSN"])
named("once")
application.fail()
"""
    run_script(PRELUDE + code, far_end.dsn)

    assert names(far_end) == {"once": 1}
    assert len(far_end.receiver.errors()) == 1


def test_a_second_dsn_changes_nothing(far_end):
    """The first set-up of a process stands: half of a trace elsewhere helps nobody."""
    with FarEnd() as other:
        code = f"""
named("before")
configure({other.dsn!r})
named("after")
application.fail()
"""
        run_script(PRELUDE + code, far_end.dsn)

        assert names(far_end) == {"before": 1, "after": 1}
        assert len(far_end.receiver.errors()) == 1
        assert not other.receiver.items


def test_an_application_that_moves_to_another_dsn(far_end):
    """After its own ``sentry_sdk.init()`` traces and errors go to that DSN; none is sent twice."""
    with FarEnd() as other:
        code = f"""
named("before")
flush()
sentry_sdk.init(dsn={other.dsn!r}, auto_enabling_integrations=False)
named("after")
application.fail()
"""
        run_script(PRELUDE + code, far_end.dsn)

        assert names(far_end) == {"before": 1}
        assert names(other) == {"after": 1}
        assert (len(far_end.receiver.errors()), len(other.receiver.errors())) == (0, 1)


def test_configured_after_a_fork(far_end):
    """A child may set itself up again; it sends what it makes, once."""
    code = """
named("parent")
pid = os.fork()
if pid == 0:
    configure(os.environ["SENTRY_DSN"])
    named("child")
    flush()
    os._exit(0)
os.waitpid(pid, 0)
"""
    run_script(PRELUDE + code, far_end.dsn)

    assert names(far_end) == {"parent": 1, "child": 1}


def test_what_ends_after_the_shutdown_is_counted(far_end):
    """A provider that was shut down records nothing more; errors go on until the client closes."""
    code = """
open_span = application.tracer.start_span("open")
named("before")
trace.get_tracer_provider().shutdown()
open_span.end()
named("after")
application.fail()
sentry_sdk.flush(10)
"""
    done = run_script(PRELUDE + code, far_end.dsn)

    assert "Traceback" not in done.stderr, done.stderr
    assert names(far_end) == {"before": 1}
    assert len(far_end.receiver.errors()) == 1


def test_started_again_after_an_end(far_end):
    """A client that was closed and made again sends traces and errors as before."""
    code = """
named("first")
flush()
sentry_sdk.get_client().close(timeout=2)
named("while closed")
sentry_sdk.init(dsn=os.environ["SENTRY_DSN"], auto_enabling_integrations=False)
named("second")
application.fail()
"""
    done = run_script(PRELUDE + code, far_end.dsn)

    assert "Traceback" not in done.stderr, done.stderr
    sent = names(far_end)
    assert (sent["first"], sent["second"]) == (1, 1)
    assert len(far_end.receiver.errors()) == 1


def test_two_applications_in_one_process(far_end):
    """Two applications share the bridge: tags of one are not on the other's transactions."""
    code = """
import threading
def application_of(name):
    for number in range(50):
        with sentry_sdk.isolation_scope():
            sentry_sdk.set_tag("application", name)
            named(name)
threads = [threading.Thread(target=application_of, args=(name,)) for name in ("shop", "admin")]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    run_script(PRELUDE + code, far_end.dsn)

    assert names(far_end) == {"shop": 50, "admin": 50}
    for event in far_end.receiver.transactions():
        assert event["tags"] == {"application": event["transaction"]}
