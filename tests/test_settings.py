from __future__ import annotations

import logging
import os
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_sentry._logging import logger, never_raise
from otel_sentry.distro import SentryDistro
from otel_sentry.dsn import mask_dsn
from otel_sentry.env_file import read_env_file
from otel_sentry.settings import Settings
from otel_sentry.variables import VARIABLES

KEY = "0123456789abcdef0123456789abcdef"
DSN = f"https://{KEY}@o17.ingest.sentry.io/42"
FIELDS = {variable.name: variable.field for variable in VARIABLES}


class Said(logging.Handler):
    """What the logger said, and nothing remembered from before."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert record.exc_info is None, "no traceback for a configuration mistake"
        self.sentences.append(record.getMessage())

    def forget(self) -> None:
        self.sentences.clear()
        logger.filters[0]._last_said.clear()


@pytest.fixture
def said():
    handler = Said()
    handler.forget()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)
    handler.forget()


DEFAULTS = {
    "dsn": "",
    "environment": "production",
    "release": None,
    "sample_rate": 1.0,
    "traces_sample_rate": 0.1,
    "send_default_pii": False,
    "debug": False,
    "traces_exporter": ("sentry",),
    "traces_sampler": "sentry",
    "log_level": "",
    "sdk_disabled": False,
    "org_id": "",
    "strict_trace_continuation": False,
    "trace_propagation_targets": None,
    "sampling_rules": "",
    "keep_errors": False,
    "keep_slow": 30.0,
    "scrub_keys": (),
    "keep_keys": (),
    "scrub_user": False,
    "infrastructure_spans": False,
    "max_spans": 1000,
    "connections": 16,
}


@pytest.mark.parametrize("text", [None, "", "   "])
def test_defaults(said, text):
    """An unset, an empty and a blank variable all mean the default, and nobody is warned."""
    environ = {} if text is None else dict.fromkeys([*FIELDS, "ENVIRONMENT"], text)
    settings = Settings.from_env(environ)
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert set(settings.describe()) == set(DEFAULTS), "no setting is missing above"
    assert said.sentences == []


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SENTRY_DSN", DSN, DSN),
        ("SENTRY_DSN", f"  {DSN}\n", DSN),
        (
            "SENTRY_DSN",
            "http://k:old@localhost:9000/prefix/7",
            "http://k:old@localhost:9000/prefix/7",
        ),
        ("SENTRY_DSN", "https://k@[::1]:9000/7", "https://k@[::1]:9000/7"),
        ("SENTRY_ENVIRONMENT", " staging ", "staging"),
        ("SENTRY_RELEASE", "shop@1.2.3", "shop@1.2.3"),
        ("SENTRY_SAMPLE_RATE", "0", 0.0),
        ("SENTRY_SAMPLE_RATE", "1", 1.0),
        ("SENTRY_TRACES_SAMPLE_RATE", " 2.5e-1 ", 0.25),
        ("SENTRY_SEND_DEFAULT_PII", "True", True),
        ("SENTRY_SEND_DEFAULT_PII", "off", False),
        ("SENTRY_DEBUG", "1", True),
        ("SENTRY_DEBUG", "n", False),
        ("OTEL_TRACES_EXPORTER", "sentry, otlp,,sentry", ("sentry", "otlp")),
        ("OTEL_TRACES_EXPORTER", "none", ()),
        ("OTEL_TRACES_EXPORTER", "NONE", ()),
        ("OTEL_TRACES_EXPORTER", "otlp,none", ()),
        ("OTEL_TRACES_SAMPLER", "always_on", "always_on"),
        ("OTEL_LOG_LEVEL", "debug", "debug"),
        ("OTEL_SDK_DISABLED", "TRUE", True),
        ("SENTRY_ORG_ID", " 17 ", "17"),
        ("SENTRY_ORG_ID", "o17", "17"),
        ("OTEL_SDK_DISABLED", "false", False),
        ("OTEL_SENTRY_SAMPLING_RULES", "GET /a=0", "GET /a=0"),
        ("OTEL_SENTRY_SCRUB_KEYS", "a, b ,", ("a", "b")),
        ("OTEL_SENTRY_KEEP_KEYS", "a", ("a",)),
        ("OTEL_SENTRY_SCRUB_USER", "yes", True),
        ("OTEL_SENTRY_INFRASTRUCTURE_SPANS", "true", True),
        ("OTEL_SENTRY_MAX_SPANS", "1", 1),
        ("OTEL_SENTRY_CONNECTIONS", " 4 ", 4),
        ("OTEL_SENTRY_CONNECTIONS", "256", 256),
    ],
)
def test_good_values(said, name, text, value):
    """A good value is read, blanks around it aside, and nobody is warned."""
    assert getattr(Settings.from_env({name: text}), FIELDS[name]) == value
    assert said.sentences == []


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("SENTRY_DSN", KEY, "it does not start with http:// or https://"),
        ("SENTRY_DSN", f"'{DSN}'", "it does not start with http:// or https://"),
        ("SENTRY_DSN", f"{KEY}@https://o17.ingest.sentry.io/42", "it does not start with"),
        ("SENTRY_DSN", f"ftp://{KEY}@host/42", "it does not start with http:// or https://"),
        ("SENTRY_DSN", f"https://o17.ingest.sentry.io/42?key={KEY}", "it has no public key"),
        ("SENTRY_DSN", "https://@o17.ingest.sentry.io/42", "it has no public key"),
        ("SENTRY_DSN", f"https://{KEY}@/42", "it has no host"),
        ("SENTRY_DSN", f"https://{KEY}@host", "it does not end with a numeric project id"),
        ("SENTRY_DSN", f"https://{KEY}@host/shop", "it does not end with a numeric project id"),
        ("SENTRY_DSN", f"https://{KEY}@host/²", "it does not end with a numeric project id"),
        ("SENTRY_DSN", f"https://{KEY}@host:0/42", "its port is 0"),
        ("SENTRY_DSN", f"https://{KEY}@host:http/42", "it cannot be read"),
        ("SENTRY_DSN", f"https://{KEY}@host:99999/42", "it cannot be read"),
        ("SENTRY_DSN", f"https://{KEY}@[host/42", "it cannot be read"),
        ("SENTRY_SAMPLE_RATE", "2", "it is not between 0 and 1"),
        ("SENTRY_SAMPLE_RATE", "abc", "it cannot be read"),
        ("SENTRY_TRACES_SAMPLE_RATE", "nan", "it is not between 0 and 1"),
        ("SENTRY_TRACES_SAMPLE_RATE", "-0.1", "it is not between 0 and 1"),
        ("SENTRY_TRACES_SAMPLE_RATE", "inf", "it is not between 0 and 1"),
        ("SENTRY_TRACES_SAMPLE_RATE", "50%", "it cannot be read"),
        ("SENTRY_SEND_DEFAULT_PII", "maybe", "it is neither true nor false"),
        ("SENTRY_DEBUG", "2", "it is neither true nor false"),
        ("OTEL_SENTRY_SCRUB_USER", "nope", "it is neither true nor false"),
        ("OTEL_SENTRY_INFRASTRUCTURE_SPANS", "all", "it is neither true nor false"),
        ("OTEL_SENTRY_MAX_SPANS", "0", "it is smaller than 1"),
        ("OTEL_SENTRY_MAX_SPANS", "1.5", "it cannot be read"),
        ("OTEL_SENTRY_CONNECTIONS", "-1", "it is smaller than 1"),
        ("OTEL_SENTRY_CONNECTIONS", "100000000", "it is larger than 256"),
        ("OTEL_SDK_DISABLED", "1", "it is neither true nor false"),
        ("OTEL_SDK_DISABLED", "yes", "it is neither true nor false"),
        ("OTEL_TRACES_EXPORTER", ",", "it names none"),
        ("SENTRY_ORG_ID", '"1"', "it is no number"),
        ("SENTRY_ORG_ID", "acme", "it is no number"),
        ("SENTRY_ORG_ID", "²", "it is no number"),
        pytest.param("OTEL_SENTRY_CONNECTIONS", "9" * 5000, "it cannot be read", id="digits"),
    ],
)
def test_bad_values(said, name, text, reason):
    """A bad value counts as unset; one warning names variable, value, reason, stand-in and fix."""
    settings = Settings.from_env({name: text})
    field = FIELDS[name]
    assert getattr(settings, field) == DEFAULTS[field]
    [sentence] = said.sentences
    variable = next(variable for variable in VARIABLES if variable.name == name)
    shown = mask_dsn(text) if name == "SENTRY_DSN" else text
    instead = {"dsn": "none (nothing is sent)", "org_id": "none"}.get(field, repr(DEFAULTS[field]))
    assert sentence.startswith(f"{name}={shown} is ignored: {reason}")
    assert sentence.endswith(f". Using {instead} instead. Set it to {variable.fix}.")
    assert KEY not in sentence
    assert KEY not in str(settings.describe())
    Settings.from_env({name: text})
    assert len(said.sentences) == 1, "the same is said once"


def test_the_same_is_said_again_after_a_minute(said, monkeypatch):
    """The memory of what was said ends after a minute and holds a bounded number of sentences."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    logger.warning("a %s", 1)
    now[0] += 59
    logger.warning("a %s", 1)
    assert said.sentences == ["a 1"]
    now[0] += 2
    logger.warning("a %s", 1)
    assert said.sentences == ["a 1", "a 1"]
    for number in range(500):
        logger.warning("b %s", number)
    assert len(logger.filters[0]._last_said) == 200


def test_a_failure_of_ours_is_logged_without_its_text(said, monkeypatch):
    """A failure inside us is one sentence with its place; in our own tests it is raised."""
    with pytest.raises(KeyError), never_raise("trying"):
        raise KeyError(KEY)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    with never_raise("trying"):
        raise KeyError(KEY)
    [sentence] = said.sentences
    assert sentence.startswith("otel_sentry failed while trying (KeyError at ")
    assert __file__ in sentence
    assert KEY not in sentence


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("", ""),
        (DSN, "https://***@o17.ingest.sentry.io/42"),
        ("http://key:secret@host/1", "http://***@host/1"),
        ("https://a@b@host/1", "https://***@host/1"),
        ("https://host/1", "https://***"),
        (KEY, "***"),
        (f"{KEY}://host/1", "***"),
        (f"https://42@host/{KEY}", "https://***@host/***"),
        (f"https://42@{KEY}/1", "https://***@***/1"),
        ("https://42@host/sntrys_eyJpYXQ_x", "https://***@host/***"),
    ],
)
def test_masked_dsns(dsn, shown):
    """Of a DSN scheme and host are shown, of anything else not even that."""
    assert mask_dsn(dsn) == shown
    assert Settings.from_env({"SENTRY_DSN": dsn}).describe()["dsn"] in {shown, ""}


@pytest.mark.parametrize(
    ("environ", "environment", "release"),
    [
        ({}, "production", None),
        ({"ENVIRONMENT": "dev"}, "dev", None),
        ({"ENVIRONMENT": " "}, "production", None),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2,deployment.environment.name=qa"},
            "qa",
            "1.2",
        ),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=old", "ENVIRONMENT": "x"},
            "old",
            None,
        ),
        (
            {
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=old,"
                "deployment.environment.name=new"
            },
            "new",
            None,
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": " service.version = a%2Cb%20c ,, x"}, "production", "a,b c"),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.version=,deployment.environment="},
            "production",
            None,
        ),
        (
            {
                "OTEL_RESOURCE_ATTRIBUTES": "service.version=1,deployment.environment.name=qa",
                "ENVIRONMENT": "dev",
                "SENTRY_ENVIRONMENT": "live",
                "SENTRY_RELEASE": "r",
            },
            "live",
            "r",
        ),
    ],
)
def test_environment_and_release(environ, environment, release):
    """Sentry's variables win over the resource's attributes, those over ENVIRONMENT."""
    settings = Settings.from_env(environ)
    assert (settings.environment, settings.release) == (environment, release)


@pytest.mark.parametrize(
    ("environ", "enabled", "backends"),
    [
        ({}, False, ()),
        ({"SENTRY_DSN": DSN}, True, ("sentry",)),
        ({"SENTRY_DSN": DSN, "OTEL_SDK_DISABLED": "true"}, False, ("sentry",)),
        ({"SENTRY_DSN": DSN, "OTEL_TRACES_EXPORTER": "none"}, True, ()),
        ({"SENTRY_DSN": DSN, "OTEL_TRACES_EXPORTER": "otlp,sentry"}, True, ("otlp", "sentry")),
        ({"OTEL_TRACES_EXPORTER": "sentry,otlp"}, True, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": "console"}, True, ("console",)),
        ({"OTEL_TRACES_EXPORTER": "none"}, False, ()),
        ({"SENTRY_DSN": "nonsense"}, False, ()),
    ],
)
def test_enabled(environ, enabled, backends):
    """The bridge is on with a DSN, or with a backend that needs none; OTEL_SDK_DISABLED wins."""
    settings = Settings.from_env(environ)
    assert (settings.enabled, settings.backends) == (enabled, backends)


def test_every_variable_is_documented():
    """Each variable of the table has a meaning, a fix and a field, and stands there once."""
    assert len(FIELDS) == len(VARIABLES)
    fields = [variable.field for variable in VARIABLES if variable.field]
    assert sorted(fields) == sorted(DEFAULTS)
    for variable in VARIABLES:
        assert variable.meaning.endswith(".")
        assert variable.fix


ANY_TEXT = st.text() | st.sampled_from(
    [DSN, f"https://{KEY}@[", f"https://{KEY}@h:x/1", "nan", "-0", "1e999", ",=;", "%ff%", "\0"]
)


@given(
    st.dictionaries(st.sampled_from([*FIELDS, "ENVIRONMENT", "OTEL_RESOURCE_ATTRIBUTES"]), ANY_TEXT)
)
@example(dict.fromkeys(FIELDS, "\ud800"))
def test_no_text_raises(environ):
    """Whatever stands in the variables, settings come out and can be shown without the key."""
    settings = Settings.from_env(environ)
    shown = settings.describe()
    assert all(isinstance(value, str) for value in shown.values())
    assert KEY not in shown["dsn"]
    assert settings.enabled in {True, False}
    assert 0 <= settings.traces_sample_rate <= 1
    assert settings.max_spans >= 1
    assert settings.environment


def test_bytes_that_are_no_text(caplog):
    """Bytes that are not UTF-8 show up escaped: a log, a header and an event can hold them."""
    names = [*FIELDS, "ENVIRONMENT", "OTEL_RESOURCE_ATTRIBUTES"]
    settings = Settings.from_env(dict.fromkeys(names, os.fsdecode(b"service.version=\xff")))
    assert settings.release == "service.version=\\udcff"
    assert len(caplog.messages) > 5
    for text in (*caplog.messages, *settings.describe().values()):
        text.encode()


@given(
    st.sampled_from(
        ["{}", " {} ", "'{}'", '"{}"', "https://{}@h", "{}@https://h/1", "https:/{}@h/1"]
    )
    | st.builds(lambda a, b: a.replace("{", "") + "{}" + b.replace("{", ""), st.text(), st.text())
)
def test_a_bad_dsn_never_shows_its_key(template):
    """A key somewhere before the last @ of a bad DSN is not shown."""
    text = template.replace("{}", KEY)
    masked = mask_dsn(text)
    shown_on_purpose = text.partition("://")[2].rpartition("@")[2]
    assert KEY not in masked.replace(shown_on_purpose, "")


# --- the .env file -----------------------------------------------------------------------------


def test_env_file(tmp_path, said):
    """A `.env` file is read as people write it: quotes, export, comments, other programs' lines."""
    path = tmp_path / ".env"
    path.write_text(
        "\n".join(
            [
                "\ufeffSENTRY_RELEASE=first",
                "# SENTRY_DSN=https://commented@host/1",
                f"SENTRY_DSN={DSN}",
                "export SENTRY_ENVIRONMENT=staging",
                "export   SENTRY_DEBUG = true",
                "export\tSENTRY_ORG_ID=17",
                "  OTEL_SENTRY_SCRUB_KEYS='a, b #c'  # why",
                'OTEL_SENTRY_SAMPLING_RULES="GET /a=0; POST /b=1"',
                "OTEL_SENTRY_KEEP_KEYS=a,b   # comment",
                "OTEL_SENTRY_MAX_SPANS= # nothing",
                "OTEL_RESOURCE_ATTRIBUTES=a=b#c",
                "OTEL_LOG_LEVEL=\"it's",
                "OTEL_SDK_DISABLED=''",
                "OTEL_SENTRY_CONNECTIONS",
                "DATABASE_URL=postgres://x",
                "=",
                "",
                "SENTRY_SAMPLE_RATE=\0",
            ]
        ),
        encoding="utf-8",
    )
    assert read_env_file(str(path)) == {
        "SENTRY_RELEASE": "first",
        "SENTRY_DSN": DSN,
        "SENTRY_ENVIRONMENT": "staging",
        "SENTRY_DEBUG": "true",
        "SENTRY_ORG_ID": "17",
        "OTEL_SENTRY_SCRUB_KEYS": "a, b #c",
        "OTEL_SENTRY_SAMPLING_RULES": "GET /a=0; POST /b=1",
        "OTEL_SENTRY_KEEP_KEYS": "a,b",
        "OTEL_SENTRY_MAX_SPANS": "",
        "OTEL_RESOURCE_ATTRIBUTES": "a=b#c",
        "OTEL_LOG_LEVEL": "\"it's",
        "OTEL_SDK_DISABLED": "",
    }
    assert said.sentences == []


@pytest.mark.parametrize("kind", ["missing", "directory", "binary", "nul"])
def test_unreadable_env_file(tmp_path, said, kind):
    """A file that cannot be read warns once, with its path and the fix, and reads as empty."""
    path = tmp_path / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"SENTRY_DSN=\xff\xfe")
    name = f"{path}\0" if kind == "nul" else str(path)
    assert read_env_file(name) == {}
    [sentence] = said.sentences
    assert sentence.startswith(f"OTEL_SENTRY_ENV_FILE={name} is ignored: ")
    assert sentence.endswith("Set it to the path of a readable file.")


def test_the_real_environment_wins(tmp_path, monkeypatch):
    """The distribution reads the file; variables that are set, even empty ones, stay."""
    path = tmp_path / ".env"
    path.write_text(f"SENTRY_DSN={DSN}\nSENTRY_RELEASE=file\nSENTRY_ENVIRONMENT=file\n")
    real = {"OTEL_SENTRY_ENV_FILE": f" {path} ", "SENTRY_RELEASE": "real", "SENTRY_DSN": ""}
    monkeypatch.setattr(os, "environ", real)
    SentryDistro().configure()
    settings = Settings.from_env(real)
    assert (settings.dsn, settings.release, settings.environment) == ("", "real", "file")


@given(st.binary() | st.text().map(lambda text: f"SENTRY_X={text}".encode(errors="replace")))
def test_no_env_file_raises(tmp_path_factory, content):
    """Whatever stands in the file, what comes out fits into an environment."""
    path = tmp_path_factory.getbasetemp() / "any.env"
    path.write_bytes(content)
    for key, value in read_env_file(str(path)).items():
        assert "\0" not in key + value
        assert key.startswith(("SENTRY_", "OTEL_"))
        assert "\n" not in key + value
