"""
What differs between the versions of sentry-sdk, 2.60 to 3.0 beta, in one place.

Told by what a version has, not by its number: version 3 has neither transactions nor
``send_default_pii`` nor ``event_scrubber``, and takes no unknown option. ``make compatibility``
runs whole processes on the oldest and the newest; docs/compatibility.md is its table.
"""

from __future__ import annotations

import warnings
from inspect import signature
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk import Scope, utils
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.envelope import Item
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.tracing_utils import PropagationContext

from otel_sentry._logging import logger

try:
    from sentry_sdk import scrubber as _scrubber
except ImportError:  # version 3 has none
    _scrubber = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTS_SPANS = hasattr(Item, "get_transaction_event")
"""Whether sentry-sdk counts the spans of a transaction that is lost."""

EVENT_SCRUBBER: Any = getattr(_scrubber, "EventScrubber", None)
"""The class of sentry-sdk's own scrubber."""

HAS_TRANSACTIONS = hasattr(Scope, "continue_trace")
"""Whether sentry-sdk makes transactions, which version 3 does not."""

# What `send_default_pii=False` means to version 2 (`_map_from_send_default_pii` there). Without it
# version 3 collects it all. The arguments of tasks are described, and scrubbed, by us.
_PERSONAL_KEYS = {"mode": "denylist", "terms": ["forwarded", "-ip", "remote-", "via", "-user"]}
_NO_PERSONAL_DATA = {
    "user_info": False,
    "cookies": _PERSONAL_KEYS,
    "http_headers": {"request": _PERSONAL_KEYS},
    "url_query_params": _PERSONAL_KEYS,
    "graphql": {"document": False, "variables": False},
    "gen_ai": {"inputs": False, "outputs": False},
    "mcp": {"inputs": False, "outputs": False},
    "database_query_data": False,
}


def personal_data(*, send: bool) -> dict[str, Any]:
    """Return the options of ``sentry_sdk.init()`` by which personal data is sent, or is not."""
    if "send_default_pii" in DEFAULT_OPTIONS:
        # None: `false` is what it is anyway, and naming it is deprecated.
        return {"send_default_pii": send or None}
    return {"data_collection": {} if send else _NO_PERSONAL_DATA}


def init(options: Mapping[str, Any]) -> None:
    """
    Initialise sentry-sdk.

    Nobody is warned that ``send_default_pii`` is deprecated: ``SENTRY_SEND_DEFAULT_PII`` is not,
    and where warnings are errors there would be no client.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "The send_default_pii option is deprecated", DeprecationWarning
        )
        sentry_sdk.init(**options)


def known_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that this version knows, and warn of the others: it raises for each."""
    unknown = sorted(set(options) - set(DEFAULT_OPTIONS))
    if unknown:
        logger.warning(
            "sentry-sdk %s has no option %s, and is set up without. A newer otel-sentry may do"
            " better: pip install --upgrade otel-sentry",
            sentry_sdk.VERSION,
            ", ".join(unknown),
        )
    return {name: value for name, value in options.items() if name in DEFAULT_OPTIONS}


def stop_streaming(client: Any) -> None:
    """
    Let a client send no spans of its own.

    Without tracing, too, version 3 makes spans of what continues a sampled trace
    (``_make_sampling_decision`` takes over the parent's decision), which is traced already. There
    is no option for it: a rate of 0 and ``ignore_spans`` count each as lost.
    """
    if getattr(client, "span_batcher", None) is not None:
        client.span_batcher = None


def arguments_stay_here() -> bool:
    """Return whether the application told sentry-sdk to send no arguments of tasks."""
    told = sentry_sdk.get_client().options.get("data_collection") or {}
    by_user = told.get("provided_by_user", "send_default_pii" not in DEFAULT_OPTIONS)
    return bool(told and by_user) and not told.get("queues")


def tells_arguments(options: Mapping[str, Any]) -> bool:
    """Return whether a client's breadcrumbs may tell the arguments of Redis commands."""
    return _tells_queries(options, bool(options.get("send_default_pii")))


def tells_parameters(options: Mapping[str, Any]) -> bool:
    """Return whether a client's breadcrumbs may tell the parameters of SQL statements."""
    experiments = options.get("_experiments") or {}
    return _tells_queries(options, bool(experiments.get("record_sql_params")))


def _tells_queries(options: Mapping[str, Any], otherwise: bool) -> bool:
    told = options.get("data_collection")
    if told is None or not told.get("provided_by_user", "send_default_pii" not in DEFAULT_OPTIONS):
        return otherwise
    return bool(told.get("database_query_data"))


def apply_scopes(
    transaction: dict[str, Any], hint: dict[str, Any], options: Mapping[str, Any]
) -> dict[str, Any] | None:
    """
    Return what this context's scopes make of a transaction; ``None``: a processor dropped it.

    Version 2 leaves breadcrumbs, feature flags and most attachments out of what is a transaction;
    version 3 takes everything for an error.
    """
    # A new scope; Scope.capture_event() merges them, too, but hands them to the serialiser.
    scope: Any = sentry_sdk.get_current_scope()._merge_scopes()  # noqa: SLF001
    scope.clear_breadcrumbs()
    scope._flags = None  # noqa: SLF001
    attachments = scope._attachments  # noqa: SLF001
    scope._attachments = [  # noqa: SLF001
        it for it in attachments if getattr(it, "add_to_transactions", False)
    ]
    event: dict[str, Any] | None = scope.apply_to_event(transaction, hint, options)
    if event is not None and event.get("breadcrumbs") == {"values": []}:
        del event["breadcrumbs"]
    return event


class _Rooted(PropagationContext):
    """The trace that a scope hands on to its forks, with the span that they belong to."""

    __slots__ = ("root",)


def hand_on(scope: Any, root: Any) -> None:
    """
    Let the forks of a scope know a root span.

    sentry-sdk forks the scopes of whoever starts a thread, which gets no context variables.
    """
    rooted: Any = _Rooted()
    present = scope._propagation_context  # noqa: SLF001 - what the application may ask for
    for name in PropagationContext.__slots__ if present is not None else ():
        setattr(rooted, name, getattr(present, name))
    rooted.root = root
    scope._propagation_context = rooted  # noqa: SLF001 - forks get it; there is no hook


def handed_on(scope: Any) -> Any:
    """Return the root span of the scope that this one was forked from; ``None``: of none."""
    return getattr(scope._propagation_context, "root", None)  # noqa: SLF001


def forget_last_exception() -> None:
    """Let sentry-sdk take an exception object that it has just taken, where it remembers one."""
    reset = getattr(DedupeIntegration, "reset_last_seen", None)
    if reset is not None:
        reset()


def event_from_exception(
    error: BaseException, mechanism: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return an error event and its hint, made by the active client's options."""
    make: Any = utils.event_from_exception
    options = sentry_sdk.get_client().options
    by_name = {"client_options": options} if "client_options" in signature(make).parameters else {}
    made: tuple[Any, dict[str, Any]] = make(error, mechanism=mechanism, **by_name)
    return made
