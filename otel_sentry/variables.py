"""Every environment variable that the bridge reads, how it is read, and its default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import logger
from otel_sentry.dsn import check_dsn, mask_dsn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Parse = Callable[[str], Any]

_HOW_TO_DSN = (
    "what Sentry shows under Settings > Projects > your project > Client Keys (DSN),"
    " e.g. https://<key>@o1.ingest.sentry.io/42"
)


def _rate(text: str) -> float:
    rate = float(text)
    if math.isnan(rate) or not 0.0 <= rate <= 1.0:
        msg = "it is not between 0 and 1"
        raise ValueError(msg)
    return rate


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 <= seconds < math.inf:
        msg = "it is no number of seconds"
        raise ValueError(msg)
    return seconds


def _flag(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "t": True, "y": True}
    words |= {"false": False, "0": False, "no": False, "off": False, "f": False, "n": False}
    try:
        return words[text.lower()]
    except KeyError:
        msg = "it is neither true nor false"
        raise ValueError(msg) from None


def _otel_flag(text: str) -> bool:
    """Read a boolean as OpenTelemetry's specification does: only ``true`` is true, none is 1."""
    if text.lower() not in {"true", "false"}:
        msg = "it is neither true nor false"
        raise ValueError(msg)
    return text.lower() == "true"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _exporters(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_names(text)))
    if not names:
        msg = "it names none"
        raise ValueError(msg)
    return () if "none" in map(str.lower, names) else names


def _org_id(text: str) -> str:
    number = text.removeprefix("o")  # as in the host of a DSN
    if not (number.isascii() and number.isdigit()):
        msg = "it is no number"
        raise ValueError(msg)
    return number


def _whole(smallest: int, largest: float = math.inf) -> Parse:
    def parse(text: str) -> int:
        number = int(text)
        if number < smallest:
            msg = f"it is smaller than {smallest}"
            raise ValueError(msg)
        if number > largest:
            msg = f"it is larger than {largest}"
            raise ValueError(msg)
        return number

    return parse


@dataclass(frozen=True)
class Variable:
    """One environment variable: its name, where it goes, how it is read, what it means."""

    name: str
    field: str
    parse: Parse
    default: Any
    fix: str
    """What to type instead of a bad value."""

    meaning: str
    secret: bool = False


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "SENTRY_DSN",
        "dsn",
        check_dsn,
        "",
        _HOW_TO_DSN,
        "Where events go. Empty: the bridge is off and costs nothing.",
        secret=True,
    ),
    Variable(
        "SENTRY_ENVIRONMENT",
        "environment",
        str,
        "",
        "any word",
        "Name of the environment; else `deployment.environment.name` of the resource, else"
        " `ENVIRONMENT`, else `production`.",
    ),
    Variable(
        "SENTRY_RELEASE",
        "release",
        str,
        None,
        "any word",
        "Version of the application; else `service.version` of the resource, else what sentry-sdk"
        " finds.",
    ),
    Variable(
        "SENTRY_SAMPLE_RATE",
        "sample_rate",
        _rate,
        1.0,
        "a number between 0 and 1, e.g. 1.0",
        "Share of error events that are sent.",
    ),
    Variable(
        "SENTRY_TRACES_SAMPLE_RATE",
        "traces_sample_rate",
        _rate,
        0.1,
        "a number between 0 and 1, e.g. 0.25",
        "Share of traces that are recorded and sent.",
    ),
    Variable(
        "SENTRY_TRACE_PROPAGATION_TARGETS",
        "trace_propagation_targets",
        _names,
        None,
        "a comma-separated list of parts of URLs or regular expressions",
        "Where outgoing requests carry the trace; default: what `sentry_sdk.init()` says, else"
        " everywhere.",
    ),
    Variable(
        "SENTRY_STRICT_TRACE_CONTINUATION",
        "strict_trace_continuation",
        _flag,
        False,
        "true or false",
        "Continue a trace only where it names our organisation.",
    ),
    Variable(
        "SENTRY_ORG_ID",
        "org_id",
        _org_id,
        "",
        "the number in https://o<number>.ingest.sentry.io",
        "Our organisation, where the DSN does not tell (self-hosted, Relay).",
    ),
    Variable(
        "SENTRY_SEND_DEFAULT_PII",
        "send_default_pii",
        _flag,
        False,
        "true or false",
        "Let sentry-sdk attach personal data that it finds (user, IP address).",
    ),
    Variable(
        "SENTRY_DEBUG",
        "debug",
        _flag,
        False,
        "true or false",
        "Let sentry-sdk log what it does.",
    ),
    Variable(
        "OTEL_TRACES_EXPORTER",
        "traces_exporter",
        _exporters,
        ("sentry",),
        "a comma-separated list of backends, e.g. sentry,otlp",
        "The backends of traces: `sentry`, `otlp`, `sentry_otlp`, `sentry_sdk`, `console`, `none`,"
        " or any exporter that another package registers.",
    ),
    Variable(
        "OTEL_TRACES_SAMPLER",
        "traces_sampler",
        str,
        "sentry",
        "sentry, or a standard sampler such as parentbased_always_on",
        "The sampler.",
    ),
    Variable(
        "OTEL_LOG_LEVEL",
        "log_level",
        str,
        "",
        "debug, info, warn or error",
        "Level of the `opentelemetry` and `otel_sentry` loggers.",
    ),
    Variable(
        "OTEL_SDK_DISABLED",
        "sdk_disabled",
        _otel_flag,
        False,
        "true or false",
        "`true` switches the bridge off, too.",
    ),
    Variable(
        "OTEL_SENTRY_SAMPLING_RULES",
        "sampling_rules",
        str,
        "",
        "e.g. GET /health=0; POST /pay=1",
        "Rates of traces that match, `;`-separated, first match wins.",
    ),
    Variable(
        "OTEL_SENTRY_KEEP_ERRORS",
        "keep_errors",
        _flag,
        False,
        "true or false",
        "Also send what the trace rate leaves out where it ended in an error or took long.",
    ),
    Variable(
        "OTEL_SENTRY_KEEP_SLOW",
        "keep_slow",
        _seconds,
        30.0,
        "a number of seconds from 0",
        "With `OTEL_SENTRY_KEEP_ERRORS`: the seconds from which on something took long; 0: never.",
    ),
    Variable(
        "OTEL_SENTRY_SCRUB_KEYS",
        "scrub_keys",
        _names,
        (),
        "a comma-separated list of keys",
        "More keys whose values are removed.",
    ),
    Variable(
        "OTEL_SENTRY_KEEP_KEYS",
        "keep_keys",
        _names,
        (),
        "a comma-separated list of keys",
        "Keys whose values are kept although a built-in rule matches.",
    ),
    Variable(
        "OTEL_SENTRY_SCRUB_USER",
        "scrub_user",
        _flag,
        False,
        "true or false",
        "Also remove e-mail, name and IP address of the user that the application set.",
    ),
    Variable(
        "OTEL_SENTRY_MAX_SPANS",
        "max_spans",
        _whole(1),
        1000,
        "a whole number from 1",
        "Spans of one transaction, at most.",
    ),
    Variable(
        "OTEL_SENTRY_INFRASTRUCTURE_SPANS",
        "infrastructure_spans",
        _flag,
        False,
        "true or false",
        "Also record plumbing: Celery's own broker and result commands, connection set-up, CLIENT"
        " spans without a parent.",
    ),
    Variable(
        "OTEL_SENTRY_CONNECTIONS",
        "connections",
        _whole(1, 256),
        16,
        "a whole number from 1 to 256",
        "Requests to Sentry at once, at most, and one more for errors.",
    ),
    Variable(
        "OTEL_SENTRY_ENV_FILE",
        "",
        str,
        "",
        "the path of a readable file",
        "A `.env` file to read `SENTRY_*` and `OTEL_*` from; the real environment wins.",
    ),
)
"""Every variable that the bridge reads, with the one place where its default stands."""


def text_of(name: str, environ: Mapping[str, str]) -> str:
    """Return what a variable says without the blanks around it; empty: nothing."""
    # Bytes that are not UTF-8 arrive as lone surrogates, which no log file can hold.
    return environ.get(name, "").strip().encode("utf-8", "backslashreplace").decode()


def read(variable: Variable, environ: Mapping[str, str]) -> Any:
    """Return a variable's value, or its default and one warning where it has a bad one."""
    text = text_of(variable.name, environ)
    if not text:
        return variable.default
    try:
        return variable.parse(text)
    except ValueError as error:
        shown = mask_dsn(text) if variable.secret else text
        reason = str(error) if str(error).startswith("it") else "it cannot be read"
        logger.warning(
            "%s=%s is ignored: %s. Using %s instead. Set it to %s.",
            variable.name,
            shown,
            reason,
            _shown(variable),
            variable.fix,
        )
        return variable.default


def _shown(variable: Variable) -> str:
    if variable.default != "":
        return repr(variable.default)
    return "none (nothing is sent)" if variable.secret else "none"
