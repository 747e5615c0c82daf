from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_sentry.cli.tail.receiver import Receiver

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.fixture
def run(pytester, monkeypatch):
    """Run files of tests in a process of its own, where the plugin is found by its entry point."""
    for name in ("SENTRY_DSN", "OTEL_SDK_DISABLED", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, **files):
        pytester.makepyfile(**files)
        return pytester.runpytest_subprocess("-p", "no:randomly", "-q", *arguments)

    return run


def blocks():
    """Return the code of the page, by file name."""
    code = re.findall(
        r"^```python\n# (\w+)\.py\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return dict(code)


def test_the_page(run):
    """The code of docs/testing.md does what the page says."""
    files = blocks()
    assert len(files) == 3
    tests = sum(code.count("def test_") for code in files.values())
    run(**files).assert_outcomes(passed=tests)


def test_the_failure_on_the_page(run):
    """A failed assertion says what was sent instead, in the words of the page."""
    failing = """
        def test(client, captured_sentry):
            client.post("/orders/7")
            captured_sentry.assert_transaction("POST /orders/{order_id}", op="queue.process")
    """
    files = blocks()
    helper = files["test_shop"].partition("def test_")[0]
    result = run(shop=files["shop"], conftest=helper, test_fails=failing)
    result.assert_outcomes(failed=1)
    shown = [line[1:].removeprefix("       ") for line in result.outlines if line.startswith("E ")]
    shown[0] = shown[0].removeprefix("AssertionError: ")
    [text] = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert "\n".join(line.strip() for line in shown) == "\n".join(
        line.strip() for line in text.splitlines()
    )


def test_assertions(run):
    """Each assertion returns what fits, and names what does not; patterns are searched for."""
    code = """
        import re
        import pytest, sentry_sdk
        from opentelemetry import trace

        @pytest.fixture
        def sent(captured_sentry):
            tracer = trace.get_tracer("t")
            with tracer.start_as_current_span("job"), tracer.start_as_current_span("part"):
                sentry_sdk.capture_message("careful", level="warning")
            return captured_sentry

        def test_found(sent):
            assert sent.assert_transaction(re.compile("^j"))["transaction"] == "job"
            assert sent.assert_span("part") == sent.spans[0]
            assert sent.assert_error(value=re.compile("care"), level="warning", transaction="job")
            sent.clear()
            sent.assert_nothing_sent()

        def test_missing(sent):
            with pytest.raises(AssertionError, match="expected /x/, sent 'part'"):
                sent.assert_span(re.compile("x"))
            with pytest.raises(AssertionError, match="warning      careful .in job."):
                sent.assert_nothing_sent()
            with pytest.raises(AssertionError, match="No error with type='KeyError' was sent"):
                sent.assert_error("KeyError")
            sent.clear()
            with pytest.raises(AssertionError, match="Sent:\\n  nothing"):
                sent.assert_error()
    """
    run(test_it=code).assert_outcomes(passed=2)


def test_tests_do_not_see_each_other(run):
    """Ids, scopes, sent events start afresh; between such tests the process is as it was."""
    code = """
        import pytest, sentry_sdk
        from opentelemetry import propagate, trace
        import sqlalchemy

        tracer = trace.get_tracer("module")
        BEFORE = (trace.get_tracer_provider(), propagate.get_global_textmap())
        ENGINE = sqlalchemy.create_engine

        def job():
            with tracer.start_as_current_span("job"):
                with sqlalchemy.create_engine("sqlite://").connect() as connection:
                    connection.execute(sqlalchemy.text("SELECT 1"))

        @pytest.mark.parametrize("number", range(3))
        def test_sent(captured_sentry, number):
            job()
            [event] = captured_sentry.transactions
            assert event.get("tags", {}) == {}
            assert event["contexts"]["trace"]["trace_id"] == f"{1:032x}"
            assert captured_sentry.assert_span("SELECT ?", op="db")
            assert captured_sentry.lost == {}
            sentry_sdk.set_tag("number", number)
            sentry_sdk.get_isolation_scope().set_tag("leak", number)

        def test_between(captured_sentry_is_not_asked_for=None):
            assert (trace.get_tracer_provider(), propagate.get_global_textmap()) == BEFORE
            assert not sentry_sdk.is_initialized()
            assert not tracer.start_span("x").is_recording()
            carrier = {}
            with tracer.start_as_current_span("x"):
                propagate.inject(carrier)
            assert "sentry-trace" not in carrier
            assert sqlalchemy.create_engine is ENGINE

        test_again = test_sent
        test_after = test_between
    """
    result = run(test_it=code)
    result.assert_outcomes(passed=8)


def test_who_does_not_ask_pays_nothing(run):
    """Without the fixture neither sentry-sdk nor OpenTelemetry is imported by the plugin."""
    code = """
        import sys

        def test_modules():
            ours = {name for name in sys.modules if name.startswith("otel_sentry")}
            assert ours == {
                "otel_sentry", "otel_sentry.__about__", "otel_sentry.testing",
                "otel_sentry.testing.plugin",
            }
            assert not {"sentry_sdk", "opentelemetry.trace"} & set(sys.modules)
    """
    run("-W", "error", test_it=code).assert_outcomes(passed=1)


def test_importing_the_plugin_is_cheap():
    """The plugin adds nothing to pytest's start that could be felt."""
    code = (
        "import pytest, time; start = time.process_time();"
        "import otel_sentry.testing.plugin; print(time.process_time() - start)"
    )
    seconds = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    )
    assert seconds < 0.01


def test_asynchronous_tests(run):
    """Tests that anyio runs, with a client in the same loop and tasks of their own."""
    code = """
        import anyio, httpx, pytest, sentry_sdk
        from fastapi import FastAPI
        from opentelemetry import trace

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def client(captured_sentry):
            app = FastAPI()

            @app.get("/a/{x}")
            async def a(x: int):
                sentry_sdk.set_tag("x", x)
                raise KeyError(x)

            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                yield client

        async def test_requests(client, captured_sentry):
            async with anyio.create_task_group() as group:
                for x in range(3):
                    group.start_soon(client.get, f"/a/{x}")
            servers = [
                one for one in captured_sentry.transactions
                if one["contexts"]["trace"]["op"] == "http.server"
            ]
            assert sorted(one["tags"]["x"] for one in servers) in (["0", "1", "2"], [0, 1, 2])
            traces = {one["contexts"]["trace"]["span_id"] for one in servers}
            assert {one["contexts"]["trace"]["span_id"] for one in captured_sentry.errors} <= traces
            assert len(captured_sentry.errors) == 3
    """
    run(test_it=code).assert_outcomes(passed=1)


def test_a_client_of_the_application(run, monkeypatch):
    """Nothing leaves through a client that the application makes, before or in the test."""
    code = """
        import os, sentry_sdk
        from opentelemetry import trace

        DSN = os.environ["TEST_DSN"]

        def before_send(event, hint):
            event["tags"] = {"hook": "ran"}
            return event

        sentry_sdk.init(dsn=DSN, before_send=before_send, traces_sample_rate=None)
        CLIENT, TRANSPORT = sentry_sdk.get_client(), sentry_sdk.get_client().transport
        HOOK = CLIENT.options["before_send"]

        def test_made_before(captured_sentry):
            with trace.get_tracer("t").start_as_current_span("job"):
                sentry_sdk.capture_message("m")
            assert captured_sentry.assert_error(value="m")["tags"] == {"hook": "ran"}
            captured_sentry.assert_transaction("job")

        def test_made_in_the_test(captured_sentry):
            sentry_sdk.init(dsn=DSN, before_send=before_send)
            sentry_sdk.capture_message("m")
            assert captured_sentry.assert_error(value="m")["tags"] == {"hook": "ran"}

        def test_restored():
            assert sentry_sdk.get_client() is CLIENT
            assert CLIENT.transport is TRANSPORT
            assert CLIENT.options["before_send"] is HOOK

        test_again = test_made_before
    """
    with Receiver() as receiver:
        monkeypatch.setenv("TEST_DSN", receiver.dsn)
        run(test_it=code).assert_outcomes(passed=4)
        assert receiver.requests == []


def test_init_in_the_application(run):
    """What otel_sentry.init() is told holds in the test, and not in the next one."""
    code = """
        import sentry_sdk, otel_sentry

        def send():
            for error in (KeyError("noise"), ValueError("real")):
                sentry_sdk.capture_exception(error)

        def test_noise(captured_sentry):
            otel_sentry.init(dsn="http://k@sentry.invalid/2", ignore_errors=[KeyError])
            send()
            assert len(captured_sentry.errors) == 1
            assert captured_sentry.lost

        def test_all(captured_sentry):
            send()
            assert len(captured_sentry.errors) == 2
    """
    run(test_it=code).assert_outcomes(passed=2)


def test_what_is_made_at_import(run):
    """With the option, an application and an engine that conftest.py makes are traced."""
    conftest = """
        import sqlalchemy
        from fastapi import FastAPI

        app, engine = FastAPI(), sqlalchemy.create_engine("sqlite://")

        @app.get("/a/{x}")
        def a(x: int):
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text("SELECT 1"))
    """
    code = """
        import pytest
        from conftest import app
        from fastapi.testclient import TestClient

        @pytest.mark.parametrize("number", range(2))
        def test_it(captured_sentry, number):
            TestClient(app).get("/a/1")
            captured_sentry.assert_transaction("GET /a/{x}", op="http.server")
            captured_sentry.assert_span("SELECT ?", op="db")

        def test_between():
            TestClient(app).get("/a/1")
    """
    option = "otel_sentry_instrument=true"
    run("-o", option, conftest=conftest, test_it=code).assert_outcomes(passed=3)


def test_an_application_that_ran_before(run):
    """An application that has answered requests already is instrumented anew, in each test."""
    code = """
        from fastapi import FastAPI
        from fastapi.testclient import TestClient

        app = FastAPI()

        @app.get("/a/{x}")
        def a(x: int):
            return x

        TestClient(app).get("/a/1")

        def test_it(captured_sentry):
            captured_sentry.instrument(app)
            captured_sentry.instrument(app)
            TestClient(app).get("/a/1")
            [event] = captured_sentry.transactions
            scope = event["contexts"]["trace"]["data"]["otel.scope.name"]
            assert scope == "opentelemetry.instrumentation.fastapi"

        test_again = test_it
    """
    run(test_it=code).assert_outcomes(passed=2)


def test_settings(run):
    """The closest marker wins; a disabled SDK and a foreign DSN of the machine do not matter."""
    code = """
        import pytest
        from opentelemetry import trace

        pytestmark = pytest.mark.sentry_settings(SENTRY_ENVIRONMENT="module", SENTRY_RELEASE="1")

        @pytest.mark.sentry_settings(SENTRY_ENVIRONMENT="close")
        def test_closest(captured_sentry):
            trace.get_tracer("t").start_span("job").end()
            [event] = captured_sentry.transactions
            assert (event["environment"], event["release"]) == ("close", "1")

        @pytest.mark.sentry_settings(SENTRY_TRACES_SAMPLE_RATE=0)
        def test_nothing(captured_sentry):
            trace.get_tracer("t").start_span("job").end()
            captured_sentry.assert_nothing_sent()
            assert captured_sentry.lost["transaction: sample_rate"] == 1
    """
    result = run("--strict-markers", test_it=code)
    result.assert_outcomes(passed=2)


def test_refuses_a_process_that_sends(run):
    """Where the bridge is set up for the process already, the fixture says how to mend that."""
    code = """
        import otel_sentry

        otel_sentry.init(dsn="http://k@127.0.0.1:9/1")

        def test_it(captured_sentry): pass
    """
    result = run(test_it=code)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Run plain `pytest`, without opentelemetry-instrument*"])


def test_settings_where_warnings_are_errors(run):
    """A test may send personal data under `-W error`."""
    test = """
        import pytest, otel_sentry

        @pytest.mark.sentry_settings(SENTRY_SEND_DEFAULT_PII=True)
        def test(captured_sentry):
            otel_sentry.capture_message("sent")
            assert captured_sentry.errors
    """
    run("-W", "error", test_personal=test).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("OTEL_SENTRY_SCRUBKEYS='x'", "Did you mean OTEL_SENTRY_SCRUB_KEYS?"),
        ("{'SENTRY_RELEASE': '1'}", "pass NAME=value"),
    ],
)
def test_a_slip_in_a_marker(run, arguments, said):
    """A setting that nobody reads fails its test, which would pass for another reason."""
    test = f"""
        import pytest

        @pytest.mark.sentry_settings({arguments})
        def test(captured_sentry):
            pass
    """
    result = run(test_slip=test)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{said.replace('?', '[?]')}*"])
