"""``otel_sentry.init()``: what only code can say, and the start without the launcher."""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import logger, never_raise
from otel_sentry.dsn import mask_dsn
from otel_sentry.options import Options
from otel_sentry.settings import Settings
from otel_sentry.variables import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping

    from otel_sentry.backends import Bridge

_VARIABLES = {
    "dsn": "SENTRY_DSN",
    "environment": "SENTRY_ENVIRONMENT",
    "release": "SENTRY_RELEASE",
    "sample_rate": "SENTRY_SAMPLE_RATE",
    "traces_sample_rate": "SENTRY_TRACES_SAMPLE_RATE",
    "send_default_pii": "SENTRY_SEND_DEFAULT_PII",
    "debug": "SENTRY_DEBUG",
}

_CALLABLE = "a function"
_NAMES = "a list"
_EXPECTED = {
    "traces_sampler": _CALLABLE,
    "scrub": _CALLABLE,
    "is_noisy_error": _CALLABLE,
    "ignore_errors": _NAMES,
    "ignore_loggers": _NAMES,
    "failed_request_status_codes": "a set of status codes",
}


def init(  # noqa: PLR0913 - one argument an option
    dsn: str | None = None,
    *,
    environment: str | None = None,
    release: str | None = None,
    sample_rate: float | None = None,
    traces_sample_rate: float | None = None,
    send_default_pii: bool | None = None,
    debug: bool | None = None,
    traces_sampler: Callable[[dict[str, Any]], float | bool | None] | None = None,
    scrub: Callable[[str, Any, str | None], Any] | None = None,
    is_noisy_error: Callable[[BaseException], bool] | None = None,
    ignore_errors: Collection[type[BaseException] | str] | None = None,
    ignore_loggers: Collection[str] | None = None,
    failed_request_status_codes: Container[int] | None = None,
    monitor_beat_tasks: bool | None = None,
    exclude_beat_tasks: Collection[str] | None = None,
    **sentry_options: Any,
) -> None:
    """
    Set options that are code; without the launcher, start: call it before frameworks are imported.

    Never raises: what is wrong is warned of and left out. Under the launcher nothing is set up
    again; ``traces_sample_rate`` is its environment's affair then.

    Args:
        dsn: Where Sentry is; default: ``SENTRY_DSN``, else that of a client that the application
            has made by ``sentry_sdk.init()``, which is kept.
        environment: Default: ``SENTRY_ENVIRONMENT`` and what follows it.
        release: Default: ``SENTRY_RELEASE`` and what follows it.
        sample_rate: Share of error events to send, 0 to 1.
        traces_sample_rate: Share of traces to send, 0 to 1.
        send_default_pii: Whether personal data may leave.
        debug: Whether sentry-sdk says what it does.
        traces_sampler: Returns the rate of a new trace; ``None``: rules and rate apply.
        scrub: Is told path, value and rule, returns what to send.
        is_noisy_error: Returns whether an exception is not to be sent.
        ignore_errors: Exceptions not to be sent: classes, or names with or without module.
        ignore_loggers: Loggers that become neither events nor breadcrumbs.
        failed_request_status_codes: The ``HTTPException`` to send; default: 401, 403, 500 to 599.
        monitor_beat_tasks: Whether Celery beat's entries check in with Sentry Crons.
        exclude_beat_tasks: Names of the entries that do not; regular expressions.
        sentry_options: Any other option of ``sentry_sdk.init()``.
    """
    with never_raise("init()"):
        if monitor_beat_tasks:
            sentry_options = _monitoring(sentry_options, exclude_beat_tasks)
        _init(
            {
                "dsn": dsn,
                "environment": environment,
                "release": release,
                "sample_rate": sample_rate,
                "traces_sample_rate": traces_sample_rate,
                "send_default_pii": send_default_pii,
                "debug": debug,
            },
            {
                "traces_sampler": traces_sampler,
                "scrub": scrub,
                "is_noisy_error": is_noisy_error,
                "ignore_errors": ignore_errors,
                "ignore_loggers": ignore_loggers,
                "failed_request_status_codes": failed_request_status_codes,
            },
            sentry_options,
        )


def _monitoring(options: dict[str, Any], excluded: Collection[str] | None) -> dict[str, Any]:
    """Return the options with sentry-sdk's integration of Celery that sends check-ins."""
    try:
        from sentry_sdk.integrations.celery import CeleryIntegration
    except Exception:  # noqa: BLE001 - Celery is missing, or too old for sentry-sdk
        logger.warning(
            "otel_sentry.init(monitor_beat_tasks=True) is ignored: sentry-sdk cannot use Celery."
            " pip install 'otel-sentry[celery]'"
        )
        return options
    names = [excluded] if isinstance(excluded, str) else excluded or ()
    if not hasattr(names, "__iter__"):
        logger.warning("otel_sentry.init(exclude_beat_tasks=%r) is ignored: pass a list.", excluded)
        names = ()
    celery = CeleryIntegration(monitor_beat_tasks=True, exclude_beat_tasks=list(names))
    return {**options, "integrations": [*(options.get("integrations") or ()), celery]}


def _init(
    told: Mapping[str, Any], callbacks: Mapping[str, Any], sentry_options: Mapping[str, Any]
) -> None:
    # Nothing is imported to find out that there is nothing to do.
    pipeline = sys.modules.get("otel_sentry.pipeline")
    bridge = pipeline.active_bridge() if pipeline is not None else None
    options = bridge.options if bridge is not None else Options()
    for name, value in callbacks.items():
        _set(options, name, value)
    known = _known(sentry_options)
    environ = _readable(told)
    if bridge is None:
        _start(environ, options, known)
    else:
        _change(bridge, environ, known)


def _readable(told: Mapping[str, Any]) -> dict[str, str]:
    """Return what is told as variables, and warn of what cannot be read: theirs counts then."""
    parse = {variable.name: variable.parse for variable in VARIABLES}
    environ: dict[str, str] = {}
    for name, value in told.items():
        text = _text(value).strip() if value is not None else ""
        try:
            if text:
                parse[_VARIABLES[name]](text)
        except ValueError as error:
            reason = str(error) if str(error).startswith("it") else "it cannot be read"
            shown = mask_dsn(text) if name == "dsn" else repr(value)
            logger.warning(
                "otel_sentry.init(%s=%s) is ignored: %s. What %s says counts.",
                name,
                shown,
                reason,
                _VARIABLES[name],
            )
        else:
            environ |= {_VARIABLES[name]: text} if value is not None else {}
    return environ


def _start(told: Mapping[str, str], options: Options, sentry_options: Mapping[str, Any]) -> None:
    """Do what the launcher does."""
    from otel_sentry.distro import SentryDistro
    from otel_sentry.sdk_variables import drop_bad_limits

    distro = SentryDistro()
    distro.configure()
    settings = Settings.from_env({**_of_application(), **_filled(os.environ), **told})
    if not settings.enabled:
        return
    drop_bad_limits(os.environ)
    from opentelemetry.instrumentation.auto_instrumentation._load import _load_instrumentors

    from otel_sentry import pipeline

    options.sentry = _unless_kept(sentry_options)
    pipeline.configure(settings, options)
    if pipeline.active_bridge() is not None:
        _load_instrumentors(distro)  # type: ignore[no-untyped-call]


def _change(bridge: Bridge, told: Mapping[str, str], sentry_options: Mapping[str, Any]) -> None:
    """Make another client where that is needed; everything else stands."""
    from otel_sentry.errors.client import set_up_client

    parsed = Settings.from_env(told)
    changed = {
        name: getattr(parsed, name)
        for name, variable in _VARIABLES.items()
        if variable in told and getattr(parsed, name) != _so_far(bridge, name)
    }
    if changed.pop("traces_sample_rate", None) is not None:
        logger.warning(
            "otel_sentry.init(traces_sample_rate=%s) is ignored: traces are set up already, at %s."
            " Set SENTRY_TRACES_SAMPLE_RATE, or pass traces_sampler.",
            parsed.traces_sample_rate,
            bridge.settings.traces_sample_rate,
        )
    new = _unless_kept({**changed, **sentry_options})
    if new and bridge.client is not None:
        bridge.options.sentry.update(new)
        set_up_client(bridge.settings, bridge.options.sentry)


def _so_far(bridge: Bridge, name: str) -> Any:
    return bridge.options.sentry.get(name, getattr(bridge.settings, name))


def _set(options: Options, name: str, value: Any) -> None:
    if value is None:
        return
    expected = _EXPECTED[name]
    if expected is _NAMES and isinstance(value, (str, type)):
        value = (value,)
    fits = callable(value) if expected is _CALLABLE else hasattr(value, "__contains__")
    if fits and not (expected is _NAMES and not hasattr(value, "__iter__")):
        setattr(options, name, value)
    else:
        logger.warning("otel_sentry.init(%s=%r) is ignored: pass %s.", name, value, expected)


def _known(sentry_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that sentry-sdk knows, and warn of the others."""
    if not sentry_options:
        return {}
    from sentry_sdk.consts import DEFAULT_OPTIONS

    for name in sorted(set(sentry_options) - set(DEFAULT_OPTIONS)):
        close = get_close_matches(name, [*DEFAULT_OPTIONS, *_VARIABLES, *_EXPECTED], n=1)
        logger.warning(
            "otel_sentry.init(%s=...) is ignored: neither otel_sentry nor sentry_sdk has it.%s",
            name,
            f" Did you mean {close[0]}?" if close else " Remove it.",
        )
    known = {name: sentry_options[name] for name in sentry_options if name in DEFAULT_OPTIONS}
    for name in [name for name in known if name.startswith("before_")]:
        if known[name] is not None and not callable(known[name]):
            value = known.pop(name)
            logger.warning("otel_sentry.init(%s=%r) is ignored: pass %s.", name, value, _CALLABLE)
    return known


def _unless_kept(sentry_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, or none where the application's own client is kept."""
    from otel_sentry.errors.client import application_client

    if not sentry_options or application_client() is None:
        return dict(sentry_options)
    logger.warning(
        "otel_sentry.init() ignores %s: the application's own sentry_sdk.init() made the client."
        " Pass them there.",
        ", ".join(sorted(sentry_options)),
    )
    return {}


def _of_application() -> dict[str, str]:
    """Return what the client that the application has made knows, as variables."""
    if "sentry_sdk" not in sys.modules:
        return {}
    from otel_sentry.errors.client import application_client

    client = application_client()
    if client is None:
        return {}
    found = {
        _VARIABLES[name]: client.options.get(name) for name in ("dsn", "environment", "release")
    }
    return {variable: str(value) for variable, value in found.items() if value}


def _filled(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if value.strip()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
