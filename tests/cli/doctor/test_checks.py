"""Tables of what single checks say; real environments are in test_doctor.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from otel_sentry.cli.doctor._code import calls_of
from otel_sentry.cli.doctor._finding import Finding
from otel_sentry.cli.doctor._python import python_of
from otel_sentry.cli.doctor._report import redactor
from otel_sentry.cli.doctor._situation import Situation, understand
from otel_sentry.cli.doctor.checks.backends import backends
from otel_sentry.cli.doctor.checks.dsn import dsn
from otel_sentry.cli.doctor.checks.processes import processes
from otel_sentry.cli.doctor.checks.propagators import propagators
from otel_sentry.cli.doctor.checks.sampler import sampler
from otel_sentry.cli.doctor.checks.variables import variables

KEY = "0123456789abcdef0123456789abcdef"


def look(check, command=(), **environ):
    """Return the level and the text with the fix of each finding."""
    situation = understand(environ, Path.cwd(), list(command))
    found = list(check(situation))
    return [(one.level.name, f"{one.text}; {one.fix}") for one in found]


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        ("", "WARNING", "is not set"),
        (f"https://{KEY}@o1.ingest.sentry.io/42", "OK", "https://***@o1.ingest.sentry.io/42"),
        (f"https://{KEY}@sentry.example:9000/base/42", "OK", "sentry.example:9000/base/42"),
        (f"https://{KEY}@o1.ingest.sentry.io/shop", "ERROR", "the number of the project"),
        (f"https://{KEY}@o1.ingest.sentry.io/", "ERROR", "numeric project id"),
        (f"https://{KEY}@o1.ingest.sentry.io", "ERROR", "numeric project id"),
        ("https://o1.ingest.sentry.io/42", "ERROR", "the key before the @ is missing"),
        ("https://:secret@o1.ingest.sentry.io/42", "ERROR", "the public key before the colon"),
        (f"https://42@o1.ingest.sentry.io/{KEY}", "ERROR", "project and key have changed"),
        (f"https://o1.ingest.sentry.io/{KEY}@42", "ERROR", "host and key have changed"),
        (f"{KEY}@o1.ingest.sentry.io/42", "ERROR", "the scheme is missing"),
        (f"htps://{KEY}@o1.ingest.sentry.io/42", "ERROR", "neither http nor https"),
        (f"https:/{KEY}@o1.ingest.sentry.io/42", "ERROR", "neither http nor https"),
        (f"'https://{KEY}@o1.ingest.sentry.io/42'", "ERROR", "quotes"),
        (f"https://{KEY}@o1.ingest .sentry.io/42", "ERROR", "white space"),
        (f"SENTRY_DSN=https://{KEY}@h/42", "ERROR", "its own name"),
        ("https://<key>@o1.ingest.sentry.io/42", "ERROR", "placeholder"),
        ("sntrys_eyJpYXQiOjE3MDAwMDAwMDB9_abc", "ERROR", "auth token"),
        (KEY, "ERROR", "does not start with http:// or https://"),
        (f"https://{KEY}@[sentry/42", "ERROR", "cannot be read"),
        (f"https://{KEY}@o1.ingest.sentry.io:port/42", "ERROR", "cannot be read"),
        (f"https://{KEY}:{KEY}@o1.ingest.sentry.io/42", "WARNING", "secret key"),
        ("https://tooshort@o1.ingest.sentry.io/42", "WARNING", "32 hexadecimal digits"),
        (f"http://{KEY}@o1.ingest.sentry.io/42", "WARNING", "unencrypted"),
    ],
)
def test_slips_in_a_dsn(text, level, said):
    """Each slip has its own sentence, and none shows the key."""
    (found, sentence), *_ = look(dsn, SENTRY_DSN=text)
    assert (found, said in sentence) == (level, True), sentence
    shown = redactor({"SENTRY_DSN": text})(sentence)
    assert KEY not in shown
    assert "secret@" not in shown


@pytest.mark.parametrize(
    ("environ", "level", "said"),
    [
        ({}, "OK", "10 % of the traces"),
        ({"SENTRY_TRACES_SAMPLE_RATE": "0.005"}, "OK", "0.5 %"),
        ({"SENTRY_TRACES_SAMPLE_RATE": "0"}, "WARNING", "no trace starts here"),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.25"}, "OK", "25 %"),
        ({"OTEL_TRACES_SAMPLER_ARG": "x"}, "ERROR", "0.1 applies"),
        ({"OTEL_SENTRY_SAMPLING_RULES": "GET /a=1; GET /b=0"}, "OK", "after 2 sampling rules"),
        ({"OTEL_TRACES_SAMPLER": "Sentry"}, "ERROR", "100 %"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "ERROR", "100 %"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"},
            "WARNING",
            "traceidratio at 0.5 decides",
        ),
    ],
)
def test_samplers(environ, level, said):
    """What OpenTelemetry makes of a sampler's name and argument is said before it happens."""
    (found, sentence), *_ = look(sampler, **environ)
    assert (found, said in sentence) == (level, True), sentence


@pytest.mark.parametrize(
    ("environ", "level", "said"),
    [
        ({"OTEL_SENTRY_MAX_SPANS": "7"}, "OK", "OTEL_SENTRY_MAX_SPANS"),
        ({"OTEL_SENTRY_MAX_SPANS": "0"}, "ERROR", "it is smaller than 1"),
        ({"OTEL_SDK_DISABLED": "1"}, "ERROR", "it is neither true nor false"),
        ({"OTEL_SDK_DISABLED": "TRUE"}, "WARNING", "switches everything off"),
        ({"OTEL_SENTRY_ENV_FILE": "nowhere"}, "ERROR", "is no file"),
        ({"OTEL_CONFIG_FILE": "nowhere"}, "ERROR", "is no file"),
        ({"OTEL_CONFIG_FILE": __file__}, "WARNING", "as if it were not there"),
    ],
)
def test_variables(environ, level, said):
    """Values that do not parse, and what overrules all others, are named."""
    (found, sentence), *_ = look(variables, **environ)
    assert (found, said in sentence) == (level, True), sentence


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, "OTEL_METRICS_EXPORTER=prometheus is ignored"),
        ({"OTEL_LOGS_EXPORTER": "nope,otlp"}, "OTEL_LOGS_EXPORTER=nope is ignored"),
        (
            {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/json is ignored",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:4318"},
            "set OTEL_EXPORTER_OTLP_ENDPOINT to http://127.0.0.1:4318",
        ),
        ({"OTEL_PYTHON_ID_GENERATOR": "xray"}, "OTEL_PYTHON_ID_GENERATOR=xray is ignored"),
        ({"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "x"}, "it is no whole number; the default is used"),
    ],
)
def test_what_opentelemetry_would_fail_over(environ, said):
    """Values of OpenTelemetry's own variables that are left out are errors."""
    (finding,) = [one for one in look(backends, **environ) if one[0] == "ERROR"]
    assert said in finding[1]


def test_a_protocol_for_two_signals_is_one_finding():
    """The same mistake is not said for each signal that it concerns."""
    environ = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"}
    environ |= {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    texts = [text for _, text in look(backends, **environ)]
    assert sum("http/json is ignored" in text for text in texts) == 1


@pytest.mark.parametrize("text", [" ", ",", "tracecontext,"])
def test_an_empty_place_among_the_propagators(text):
    """OpenTelemetry looks for a propagator without a name, and the launcher dies."""
    ((level, sentence),) = look(propagators, OTEL_PROPAGATORS=text)
    assert (level, "the launcher does not start" in sentence) == ("ERROR", True)


@pytest.mark.parametrize(
    "command",
    [
        "/usr/bin/env SENTRY_DSN=x opentelemetry-instrument python app.py",
        "env SENTRY_DSN=x opentelemetry-instrument -- python app.py",
        "SENTRY_DSN=x opentelemetry-instrument --traces_exporter sentry -- python app.py",
    ],
)
def test_what_stands_before_a_command(command):
    """The command is what stands behind `env`, the launcher and its flags."""
    situation = understand({}, Path.cwd(), command.split())
    assert situation.launched
    assert situation.command == ("python", "app.py")
    assert situation.environ["SENTRY_DSN"] == "x"


@pytest.mark.parametrize(
    ("command", "level", "said"),
    [
        (["gunicorn", "--preload", "a:b"], "OK", "--preload"),
        (["celery", "-A", "a", "worker"], "OK", "prefork"),
        (["celery", "-A", "a", "worker", "-P", "gevent"], "WARNING", "gevent"),
        (["celery", "-A", "a", "worker", "--pool=eventlet"], "WARNING", "eventlet"),
        (["uvicorn", "a:b"], "OK", "nothing to mind"),
    ],
)
def test_processes(command, level, said):
    """How a server makes processes and threads matters to who has threads of its own."""
    [(found, sentence)] = look(processes, command)
    assert (found, said in sentence) == (level, True), sentence


@pytest.mark.parametrize(
    ("command", "app", "launched"),
    [
        ("uvicorn app:app --reload", "app:app", False),
        ("opentelemetry-instrument uvicorn shop.main:create_app()", "shop.main:create_app()", True),
        ("env A=1 b/opentelemetry-instrument --sentry_max_spans=5 python run.py", "run.py", True),
        (
            "opentelemetry-instrument --distro sentry celery -A shop.tasks worker",
            "shop.tasks",
            True,
        ),
        ("celery --app=shop worker", "shop", False),
        ("python -m uvicorn shop:app", "shop:app", False),
        ("python -m shop", "shop", False),
        ("sleep 1", "", False),
    ],
)
def test_commands(command, app, launched):
    """From a command it is read what runs, and whether the launcher starts it."""
    situation = understand({}, Path.cwd(), command.split())
    assert (situation.app, situation.launched) == (app, launched)


def test_what_a_command_sets():
    """`env` and the launcher's flags count as they would, a file less than the environment."""
    command = ["env", "A=1", "opentelemetry-instrument", "--sentry_max_spans=5", "--distro", "x"]
    situation = understand({"A": "0"}, Path.cwd(), [*command, "python", "run.py", "--b", "c"])
    assert situation.environ == {"A": "1", "OTEL_SENTRY_MAX_SPANS": "5", "OTEL_PYTHON_DISTRO": "x"}
    assert situation.command == ("python", "run.py", "--b", "c")


def test_calls_in_code(tmp_path):
    """Calls are found by what was imported, also below packages; what cannot be read is skipped."""
    package = tmp_path / "shop" / "deep"
    package.mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("from . import more\nfrom .. import broken, missing\n")
    (package / "more.py").write_text("import otel_sentry as o\no.init(debug=False, dsn='x')\n")
    (tmp_path / "shop" / "broken.py").write_text("def (:")
    (tmp_path / "run.py").write_text("import os, json, shop.deep\n(lambda: 0)()\n")
    calls = calls_of(Situation({}, tmp_path, app="run.py"))
    [call] = [one for one in calls if one.name == "otel_sentry.init"]
    assert call.place == f"shop{os.sep}deep{os.sep}more.py:2"
    assert call.arguments == {"dsn"}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (f"#!{sys.executable}", sys.executable),
        (f"#!/bin/sh\n'''exec' {sys.executable} \"$0\" \"$@\"", sys.executable),
        (f'#!/bin/sh\n\'\'\'exec\' "{sys.executable}" "$0" "$@"', sys.executable),
        ("#!/bin/sh\necho", None),
        ("no script", None),
        ("", None),
    ],
)
def test_the_python_of_a_script(tmp_path, lines, found):
    """A script's interpreter is found in its first lines, as pip writes them."""
    script = tmp_path / "serve"
    script.write_text(f"{lines}\n")
    script.chmod(0o755)
    got = python_of("serve", {"PATH": str(tmp_path)})
    assert (got == found) if found else isinstance(got, Finding)


def test_no_secret_is_shown():
    """Keys, tokens and credentials disappear from whatever a check says."""
    redact = redactor(
        {
            "SENTRY_DSN": "public-key:the-secret@host/1",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer topsecret,x-key=abc123def",
        }
    )
    said = (
        f"public-key the-secret topsecret abc123def {KEY} sntryu_{KEY} https://user:pw@host/x"
        " set https://<key>@host"
    )
    shown = redact(said)
    for secret in ("public-key", "the-secret", "topsecret", "abc123def", KEY, "user:pw"):
        assert secret not in shown
    assert shown.endswith("https://***@host/x set https://<key>@host")


@pytest.mark.parametrize(
    ("names", "level", "said"),
    [
        ("sentry", "OK", "sentry; 'sentry' is that of otel-sentry; "),
        ("baggage,tracecontext,sentry", "OK", "and takes the place of tracecontext and baggage; "),
        ("baggage,tracecontext", "WARNING", "leaves sentry-trace unread and unwritten"),
    ],
)
def test_propagators_beside_ours(names, level, said):
    """Who names W3C's propagators beside ours learns that ours does what they do."""
    [(found, text)] = look(propagators, OTEL_PROPAGATORS=names)
    assert found == level
    assert said in text
