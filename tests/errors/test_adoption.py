from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import sentry_sdk
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from sentry_sdk.crons import capture_checkin
from sentry_sdk.integrations.starlette import StarletteIntegration
from sentry_sdk.scope import remove_external_propagation_context
from sentry_sdk.transport import HttpTransport

from otel_sentry.errors.hooks import Hooks
from otel_sentry.errors.linking import start_linking
from otel_sentry.scrubbing import Scrubber
from otel_sentry.transport import SentryTransport
from tests.forks import forks, in_child


def test_hooks_are_installed_once(far):
    """A client that several scopes get is adopted once, and at once."""
    client = sentry_sdk.get_client()
    hook = client.options["before_send"]
    sentry_sdk.get_isolation_scope().set_client(client)
    sentry_sdk.get_current_scope().set_client(client)
    sentry_sdk.capture_message("hello")

    assert client.options["before_send"] is hook
    assert hook.args[0] is None
    assert len(far.errors()) == 1


def test_two_threads_adopt_a_client(far):
    """A thread waits until another has installed all hooks, and installs none twice."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(dict):
        """Options of which the first one that is asked for takes its time."""

        def get(self, name, default=None):
            if not begun.is_set():
                begun.set()
                go_on.wait(20)
            return super().get(name, default)

    hooks = Hooks(Scrubber(), lambda _: {})
    client = sentry_sdk.Client(far.receiver.dsn, default_integrations=False)
    client.options = Slow(client.options)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(hooks.install, client)
        assert begun.wait(20)
        second = pool.submit(hooks.install, client)
        waited = not wait([second], 0.2).done
        go_on.set()

    assert waited
    assert (first.result(), second.result()) == (True, False)
    assert client.options["before_send"].args[0] is None
    client.close(5)


@forks
def test_a_fork_while_a_thread_adopts_a_client(far):
    """The child does not wait for a thread that it does not have."""
    hooks = Hooks(Scrubber(), lambda _: {})
    client = sentry_sdk.Client(far.receiver.dsn, default_integrations=False)
    held, go_on = threading.Event(), threading.Event()

    def hold():
        with hooks._installing:
            held.set()
            go_on.wait(20)

    def install():
        signal.alarm(10)  # ends a child that waits
        return str(hooks.install(client))

    with ThreadPoolExecutor() as pool:
        pool.submit(hold)
        assert held.wait(20)
        said = in_child(install)
        go_on.set()

    assert said == "True"
    client.close(5)


def test_delivery(far):
    """A client with sentry-sdk's plain transport gets ours, with the same options."""
    client = sentry_sdk.get_client()
    assert isinstance(client.transport, SentryTransport)
    assert client.monitor.transport is client.transport
    assert client.transport.options is client.options
    first = client.transport
    first.before_flush = drain = lambda _: None
    sentry_sdk.init(far.receiver.dsn, auto_enabling_integrations=False)
    assert sentry_sdk.get_client().transport is not first
    assert sentry_sdk.get_client().transport.before_flush is drain
    client.close(5)


def test_a_transport_of_the_applications(far):
    """A transport that the application chose stays."""

    class Own(HttpTransport):
        """The application's."""

    client = sentry_sdk.Client(far.receiver.dsn, transport=Own, default_integrations=False)
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        assert type(client.transport) is Own
        assert sentry_sdk.capture_message("hello")
    client.close(5)


@pytest.mark.parametrize(
    ("integration", "expected"),
    [
        (StarletteIntegration(), [True, True, False, True]),
        (
            StarletteIntegration(failed_request_status_codes={404}),
            [False, False, True, False],
        ),
    ],
    ids=["default", "chosen"],
)
def test_status_codes_of_the_integration(far, integration, expected):
    """Starlette's integration captures what our filters let pass; a choice of its own stands."""
    client = sentry_sdk.Client(
        far.receiver.dsn,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[integration],
    )
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
    codes = client.get_integration("starlette").failed_request_status_codes
    assert [code in codes for code in (401, 403, 404, 503)] == expected
    client.close(5)


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF])
def test_everything_is_linked(far, sampler):
    """Errors, messages, check-ins and logs bear the OpenTelemetry trace, sampled or not."""
    start_linking()
    try:
        tracer = TracerProvider(sampler, shutdown_on_exit=False).get_tracer("tests")
        with tracer.start_as_current_span("work") as span:
            sentry_sdk.capture_exception(ValueError())
            sentry_sdk.capture_message("hello")
            capture_checkin(monitor_slug="nightly", status="ok")
            sentry_sdk.logger.info("password=Zq9xSekrit7Wv", attributes={"token": "Zq9x", "a": 1})
        context = span.get_span_context()
        sentry_sdk.flush(5)
    finally:
        remove_external_propagation_context()

    ids = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    by_kind = {}
    for item in far.receiver.items:
        by_kind.setdefault(item.kind, []).append(item.fields)
    traces = [event["contexts"]["trace"] for event in (*by_kind["error"], *by_kind["check_in"])]
    assert [(trace["trace_id"], trace["span_id"]) for trace in traces] == [ids] * 3
    assert "transaction" not in by_kind["check_in"][0]
    (log,) = by_kind["log"]
    assert (log["trace_id"], log["span_id"]) == ids
    assert log["body"] == "password=[Filtered]"
    assert log["attributes"]["token"]["value"] == "[Filtered]"
    assert log["attributes"]["a"]["value"] == 1


def test_named_parameters_of_sentry_logs(far):
    """A log's text loses what its parameters' names say to be a secret, and nothing else."""
    sentry_sdk.init(far.receiver.dsn, enable_logs=True, auto_enabling_integrations=False)
    sentry_sdk.logger.warning("tok {token} of {page}", token="Zq9xSekrit7Wv", page="start")
    sentry_sdk.flush(5)

    (log,) = [item.fields for item in far.receiver.items if item.kind == "log"]
    assert log["body"] == "tok [Filtered] of start"
    assert b"Zq9xSekrit7Wv" not in b"".join(far.receiver.bodies)


def test_log_and_metric_hooks(far):
    """The application's hooks for logs and metrics run, and what they return is scrubbed."""

    def say(item, hint):
        if item["attributes"].get("drop"):
            return None
        item["attributes"]["password"] = "Zq9xSekrit7Wv"
        return item

    sentry_sdk.init(
        far.receiver.dsn,
        before_send_log=say,
        before_send_metric=say,
        enable_logs=True,
        auto_enabling_integrations=False,
    )
    sentry_sdk.logger.info("one")
    sentry_sdk.logger.info("two", attributes={"drop": True})
    sentry_sdk.metrics.count("orders", 1)
    sentry_sdk.metrics.count("orders", 1, attributes={"drop": True})
    sentry_sdk.flush(5)

    sent = [item for item in far.receiver.items if item.kind in {"log", "trace_metric"}]
    assert sorted(item.kind for item in sent) == ["log", "trace_metric"]
    assert b"Zq9xSekrit7Wv" not in b"".join(far.receiver.bodies)
    assert all(i.fields["attributes"]["password"]["value"] == "[Filtered]" for i in sent)
