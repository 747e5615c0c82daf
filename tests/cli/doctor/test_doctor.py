from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from otel_sentry.cli.tail.receiver import Receiver
from tests.cli.doctor.environments import KEY, Environment

SNAPSHOTS = Path(__file__).parent / "snapshots"
DSN = f"https://{KEY}@o1.ingest.sentry.io/42"
DISTRO = "[opentelemetry_distro]\nother = other_distro:Distro\n"
CONFIGURATOR = "[opentelemetry_configurator]\nother = other_distro:Configurator\n"
GOOD_DISTRO = """\
from opentelemetry.instrumentation.distro import BaseDistro
class Distro(BaseDistro):
    def _configure(self, **kwargs): pass
class Configurator:
    def configure(self, **kwargs): pass
"""
APP = """\
import sentry_sdk
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from fastapi import FastAPI
import settings

sentry_sdk.init(dsn=settings.DSN, traces_sample_rate=1.0, send_default_pii=False)
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)
raise SystemExit("this is not run")
"""
SETTINGS = """\
from sentry_sdk import init as start
from sentry_sdk.integrations.otlp import OTLPIntegration
DSN = "x"
def unused(): start(integrations=[OTLPIntegration()], traces_sample_rate=None)
"""


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path)


@pytest.fixture
def closed_port():
    """Return a port of this machine that nobody listens on, and nobody takes meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def looks(environment):
    """Compare what the doctor prints with what is on file (DOCTOR_SNAPSHOTS=write renews it)."""

    def look(name, status, *arguments, program="", **environ):
        returned, output, complaints = environment.doctor(*arguments, program=program, **environ)
        assert "Traceback" not in output + complaints
        assert KEY not in output + complaints
        assert complaints == ""
        plain = environment.plain(output)
        file = SNAPSHOTS / f"{name}.txt"
        if os.environ.get("DOCTOR_SNAPSHOTS") == "write":
            file.write_text(plain, encoding="utf-8")
        assert plain == file.read_text(encoding="utf-8")
        assert returned == status

    return look


def test_nothing_installed(environment, looks):
    """The Python of the command has nothing of ours: the doctor runs there, and says so."""
    environment.script("uvicorn")
    program = str(Path(sys.executable).with_name("otel-sentry"))
    looks("nothing_installed", 2, "--", "uvicorn", "app:app", program=program, SENTRY_DSN=DSN)


def test_healthy(environment, looks):
    """Where all is well each line says so, the far end on this machine is asked, exit status 0."""
    environment.with_otel_sentry().script("uvicorn")
    (environment.work / "app.py").write_text("app = None\n")
    with Receiver() as receiver:
        dsn = f"http://{KEY}@127.0.0.1:{receiver.port}/1"
        command = ("opentelemetry-instrument", "--traces_sampler_arg", "0.5", "uvicorn", "app:app")
        looks("healthy", 0, "--", *command, SENTRY_DSN=dsn)
        assert receiver.requests == []


def test_no_dsn(environment, looks):
    """Without a DSN the bridge is off, which is a warning: it may be wanted."""
    environment.with_otel_sentry()
    looks("no_dsn", 1)


def test_two_distributions(environment, looks):
    """Another distribution that comes first is taken, and one variable mends it."""
    environment.with_otel_sentry()
    modules = {"other_distro.py": GOOD_DISTRO}
    entry_points = DISTRO + CONFIGURATOR
    environment.fake("other-distro", entry_points=entry_points, modules=modules, first=True)
    looks("two_distributions", 2, SENTRY_DSN=DSN)


def test_two_distributions_and_a_choice(environment, looks):
    """With both variables set, ours is taken whatever else is installed."""
    environment.with_otel_sentry()
    modules = {"other_distro.py": GOOD_DISTRO}
    entry_points = DISTRO + CONFIGURATOR
    environment.fake("other-distro", entry_points=entry_points, modules=modules, first=True)
    chosen = {"OTEL_PYTHON_DISTRO": "sentry", "OTEL_PYTHON_CONFIGURATOR": "sentry"}
    looks("two_distributions_and_a_choice", 0, SENTRY_DSN=DSN, **chosen)


def test_broken_entry_points(environment, looks):
    """Entry points that cannot be loaded are named, with what the launcher does about them."""
    environment.with_otel_sentry()
    environment.fake(
        "broken-distro",
        entry_points=f"{DISTRO}\n[opentelemetry_environment_variables]\nbroken = missing_module\n"
        "[opentelemetry_propagator]\nbroken = other_distro:Missing\n",
        modules={"other_distro.py": "print('noise')\nraise SystemExit('no licence')\n"},
        first=True,
    )
    looks("broken_entry_points", 2, SENTRY_DSN=DSN, OTEL_PROPAGATORS="broken,tracecontext")


def test_missing_and_wrong_versions(environment, looks):
    """What is missing or untested is named with the command that installs the right version."""
    environment.with_otel_sentry(without=("sentry-sdk",)).fake("opentelemetry-sdk", "1.30.0")
    looks("missing_and_wrong_versions", 2, SENTRY_DSN=DSN)


def test_no_packaging(environment, looks):
    """Without a library that the checks need, those fail one by one, and the others run."""
    environment.with_otel_sentry(without=("packaging",))
    looks("no_packaging", 2, SENTRY_DSN=DSN)


def test_dsn_with_a_typo(environment, looks):
    """A DSN with a typo is an error that shows no part of it."""
    environment.with_otel_sentry()
    looks("dsn_with_a_typo", 2, SENTRY_DSN=f"https://42@sentry.io/{KEY}")


def test_mistyped_variables(environment, looks):
    """Names that nobody reads and values that do not parse come with what was meant."""
    environment.with_otel_sentry()
    looks(
        "mistyped_variables",
        2,
        SENTRY_DSN=DSN,
        SENTRY_TRACE_SAMPLE_RATE="1",
        SENTRY_TRACES_SAMPLE_RATE="50%",
        OTEL_SENTRY_SCRUB_KEY="iban",
        OTEL_SENTRY_NONSENSE_AND_MORE="1",
        OTEL_SENTRY_MAX_SPANS="many",
        OTEL_SENTRY_SAMPLING_RULES="GET /health; POST /pay=1",
        OTEL_TRACE_EXPORTER="otlp",
        OTEL_TRACES_EXPORTER="sentri,sentry,sentry_otlp",
        OTEL_PROPAGATORS="tracecontex,bagage",
    )


def test_unknown_sampler(environment, looks):
    """A sampler with a typo records everything, which OpenTelemetry hardly says."""
    environment.with_otel_sentry()
    looks("unknown_sampler", 2, SENTRY_DSN=DSN, OTEL_TRACES_SAMPLER="parentbased_traceidratoi")


def test_switched_off(environment, looks):
    """What a .env file says counts, and a disabled SDK is the first thing to know."""
    environment.with_otel_sentry()
    (environment.work / ".env").write_text(
        f"SENTRY_DSN={DSN}\nOTEL_SDK_DISABLED=true\nOTEL_TRACES_EXPORTER=none\n"
    )
    looks("switched_off", 1, OTEL_SENTRY_ENV_FILE=".env")


def test_closed_collector(environment, looks, closed_port):
    """A Collector on this machine that does not answer is an error; one elsewhere is not asked."""
    environment.with_otel_sentry()
    endpoint = f"http://127.0.0.1:{closed_port}"
    looks(
        "closed_collector",
        2,
        SENTRY_DSN=DSN,
        OTEL_TRACES_EXPORTER="sentry,otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
    )


def test_no_network(environment, looks):
    """Asked to connect without a network, it says that nobody answers."""
    environment.with_otel_sentry()
    looks("no_network", 2, "--connect", SENTRY_DSN=f"https://{KEY}@sentry.invalid/1")


def test_untraced_libraries(environment, looks):
    """Libraries without an instrumentation, or outside its range, are named."""
    environment.with_otel_sentry("opentelemetry-instrumentation-redis")
    environment.fake("flask", "3.0").fake("redis", "2.0").fake("celery", "5.0").fake("ddtrace")
    environment.fake("opentelemetry-distro").fake("sqlalchemy", "2.1.5")
    environment.fake(
        "opentelemetry-instrumentation-sqlalchemy",
        requires=("sqlalchemy<2.1.0,>=1.0.0; extra == 'instruments'",),
    )
    environment.fake(
        "opentelemetry-instrumentation-django",
        entry_points="[opentelemetry_instrumentor]\ndjango = broken_django:X\n",
        modules={"broken_django.py": "1 / 0"},
    )
    looks("untraced_libraries", 1, SENTRY_DSN=DSN)


def test_application_that_traces(environment, looks):
    """The application's code is read, not run; what it sets up a second time has a line."""
    environment.with_otel_sentry().script("gunicorn")
    (environment.work / "src").mkdir()
    (environment.work / "src" / "app.py").write_text(APP)
    (environment.work / "src" / "settings.py").write_text(SETTINGS)
    command = ("gunicorn", "--chdir", "src", "-k", "gevent", "--preload", "app:app")
    looks("application_that_traces", 2, "--", *command, SENTRY_DSN=DSN)


def test_foreign_command(environment, looks):
    """A command that is no Python script is examined as far as that goes."""
    environment.with_otel_sentry()
    looks("foreign_command", 2, "--", "env", "A=1", "/bin/ls", "nowhere.py", SENTRY_DSN=DSN)


def test_json(environment):
    """--json prints one object with the same findings, the same exit status and no key."""
    environment.with_otel_sentry()
    status, output, complaints = environment.doctor("--json", SENTRY_DSN=f"https://{KEY}@h/x")
    report = json.loads(output)
    assert (status, complaints, report["level"]) == (2, "", "error")
    assert KEY not in output
    wrong = [finding for finding in report["findings"] if finding["level"] == "error"]
    assert [finding["check"] for finding in wrong] == ["dsn"]
    assert wrong[0]["fix"] == "end it with the number, not the name, of the project"


def test_send(environment):
    """--send sends one error and one transaction of one trace, and tells which to look for."""
    environment.with_otel_sentry()
    with Receiver() as receiver:
        dsn = f"http://{KEY}@127.0.0.1:{receiver.port}/1"
        status, output, _ = environment.doctor("--send", SENTRY_DSN=dsn)
        [error], [transaction] = receiver.errors(), receiver.transactions()
    assert status == 0, output
    trace = transaction["contexts"]["trace"]
    assert error["contexts"]["trace"]["span_id"] == trace["span_id"]
    trace_id = trace["trace_id"]
    assert f"in trace {trace_id[:16]}-{trace_id[16:]}" in output
    assert transaction["transaction"] == "otel-sentry doctor"
    assert error["exception"]["values"][0]["type"] == "DoctorError"


def test_send_is_refused(environment, closed_port):
    """--send says what Sentry answered, or that nobody did."""
    environment.with_otel_sentry()
    dsn = f"http://{KEY}@127.0.0.1:{closed_port}/1"
    status, output, complaints = environment.doctor("--send", SENTRY_DSN=dsn)
    assert status == 2
    assert "Sentry did not take all of it: " in output
    assert "Traceback" not in output + complaints
    assert KEY not in output + complaints
