"""
Capture a finished transaction: Sentry's scopes, the application's hooks, then an envelope.

This is what ``Client.capture_event`` of sentry-sdk does, without its serialiser, which costs more
than everything else together: what comes from spans is plain already, and only what scopes and
event processors add goes through it.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime, timezone
from math import isfinite
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.client import SDK_INFO
from sentry_sdk.envelope import Envelope, Item
from sentry_sdk.serializer import serialize
from sentry_sdk.utils import capture_internal_exceptions, datetime_from_isoformat

from otel_sentry._ids import uuid4
from otel_sentry._json import encode
from otel_sentry._logging import report
from otel_sentry._sentry_sdk import EVENT_SCRUBBER, apply_scopes
from otel_sentry.scrubbing import merged, remarks
from otel_sentry.transactions._plain import BRIEF_TEXT, plain_mapping, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentry_sdk.client import BaseClient

    from otel_sentry.scrubbing import Scrubber
    from otel_sentry.transactions.event import Transaction

OURS = "otel_sentry"
"""Key of the hint that comes with our transactions: a function that returns their spans."""

_MAX_SIZE = 1000 * 1024
"""
Characters of a transaction as JSON, all of which are ASCII: Sentry refuses more than 1 MiB.

https://docs.sentry.io/concepts/data-management/size-limits/
"""

_ITEM_HEADER = b'{"type":"transaction","content_type":"application/json","length":%d}\n'
_OUTLINE = ("type", "transaction", "transaction_info", "timestamp", "platform")
_OF_CLIENT = ("release", "environment", "server_name", "dist")
_OF_SERIALISER = ("max_request_body_size", "max_value_length", "custom_repr")
_OFTEN_PLAIN = frozenset({"request", "transaction"})
_MAX_PLAIN_TEXT = 1024  # longer ones are the serialiser's affair

# What sentry-sdk's default integrations put into every event, always the same.
_OF_PROCESS = (("extra", "sys.argv"), ("contexts", "runtime"))

# Of these parts sentry-sdk's own scrubber looks into the request only; for others it looks long.
_WITH_REQUEST = frozenset({"contexts", "request", "tags", "transaction"})

# Breadcrumbs that sentry-sdk's integrations leave for what is a span here.
_AUTOMATIC = frozenset({"query", "redis", "httplib", "subprocess"})


class Capture:
    """
    Capture transactions in the Sentry scopes of the context it is called in.

    Args:
        scrubber: Touches what scopes, event processors and hooks put in.
    """

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._known: dict[tuple[str, str], tuple[Any, Any, Any]] = {}  # bound: _OF_PROCESS

    def __call__(
        self, transaction: Transaction, dynamic_sampling_context: Mapping[str, str]
    ) -> None:
        """Send ``transaction`` through the active client; what does not leave is counted."""
        client: Any = sentry_sdk.get_client()
        if client.transport is None:
            return
        for reason, spans in transaction.lost.items():
            count_lost(reason, transactions=0, spans=spans)
        hint: dict[str, Any] = {OURS: transaction.span_dictionaries}
        event = apply_scopes(outline(transaction.event), hint, client.options)
        reason = "event_processor"
        left = 0
        if event is not None:
            event = self._complete(event, transaction, client)
            event, reason = _run_hook(client, event, hint)
            left = len(event.get("spans", transaction.spans)) if event is not None else 0
        lost = len(transaction.spans) - left
        if event is None:
            count_lost(reason, transactions=1, spans=1 + lost)
            return
        if lost > 0:
            count_lost(reason, transactions=0, spans=lost)
        headers: dict[str, Any] = {
            "event_id": event["event_id"],
            "sent_at": _now(),
        }
        if dynamic_sampling_context:  # as sentry-sdk does; else the head sent none
            headers["trace"] = dict(dynamic_sampling_context)
        envelope = Envelope(headers=headers)
        envelope.add_item(EncodedTransaction(event, transaction.spans))
        for attachment in hint.get("attachments") or ():
            envelope.add_item(attachment.to_envelope_item())
        if client.spotlight:
            client.spotlight.capture_envelope(envelope)
        client.transport.capture_envelope(envelope)

    def _complete(
        self, applied: dict[str, Any], transaction: Transaction, client: BaseClient
    ) -> dict[str, Any]:
        """
        Join our event with what scopes and event processors made of its outline.

        sentry-sdk's framework integrations rename transactions there; the name is ours.
        """
        options = client.options
        event, secrets = transaction.event, transaction.secrets
        added = {key: value for key, value in applied.items() if key not in event}
        added["contexts"] = {
            key: value
            for key, value in (applied.get("contexts") or {}).items()
            if key not in event["contexts"]
        }
        if "request" in added:
            added["transaction"] = event["transaction"]  # the route tells the secrets of the URL
        added = self._plain(added, options, secrets)
        whole = {
            **{key: str(options[key]).strip() for key in _OF_CLIENT if options.get(key)},
            **added,
            **event,
            "event_id": uuid4().hex,
            "contexts": {**added.get("contexts", {}), **event["contexts"]},
            "sdk": {**SDK_INFO, "integrations": sorted(client.integrations)},
        }
        meta = merged(added.get("_meta", {}), event.get("_meta", {}))
        crumbs = [*self._breadcrumbs(secrets), *event.get("breadcrumbs", {}).get("values", ())]
        if crumbs:
            whole["breadcrumbs"] = {"values": sorted(crumbs, key=_time)}
            meta = merged(meta, remarks({"breadcrumbs": whole["breadcrumbs"]}))
        if meta:
            whole["_meta"] = meta
        return whole

    def _plain(
        self, added: dict[str, Any], options: dict[str, Any], secrets: frozenset[str]
    ) -> dict[str, Any]:
        """Return what was added as JSON has it, scrubbed."""
        same = {}
        for part, key in _OF_PROCESS:
            if key in added.get(part, ()):
                value = added[part].pop(key)
                if not added[part]:  # nearly always, and a walk less
                    del added[part]
                seen = (value, self._scrubber.callback)
                before, plain, remark = self._known.get((part, key), (None, None, None))
                if before != seen:
                    plain = self._serialize({part: {key: value}}, options)[part][key]
                    remark = remarks({part: {key: plain}})
                    self._known[part, key] = ((copy(value), seen[1]), plain, remark)
                same[part, key] = plain, remark
        added = self._serialize(added, options, secrets)
        meta = added.get("_meta", {})
        for (part, key), (plain, remark) in same.items():
            added[part] = {**added.get(part, {}), key: plain}
            meta = merged(meta, remark) if remark else meta
        if meta:
            added["_meta"] = meta
        return added

    def _serialize(
        self, added: dict[str, Any], options: dict[str, Any], secrets: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        scrubber = options.get("event_scrubber")
        if scrubber:
            brief = type(scrubber) is EVENT_SCRUBBER and _WITH_REQUEST.issuperset(added)
            (scrubber.scrub_request if brief else scrubber.scrub_event)(added)
        longest = min(options.get("max_value_length") or _MAX_PLAIN_TEXT, _MAX_PLAIN_TEXT)
        ready = {key: it for key, it in added.items() if _is_ready(key, it, longest)}
        plain = {key: value for key, value in added.items() if key not in ready}
        if plain:
            plain = serialize(plain, **{name: options.get(name) for name in _OF_SERIALISER})
        scrubbed: dict[str, Any] = self._scrubber.event({**plain, **ready}, secrets)
        return scrubbed

    def _breadcrumbs(self, secrets: frozenset[str]) -> list[dict[str, Any]]:
        """Return the breadcrumbs that the application left in the request's scope."""
        left = getattr(sentry_sdk.get_isolation_scope(), "_breadcrumbs", ())
        return [
            shorten(
                self._scrubber.attributes(
                    plain_mapping({**crumb, "timestamp": _time(crumb)}), secrets
                )
            )
            for crumb in tuple(left)  # a thread of the request may still add some
            if crumb.get("category") not in _AUTOMATIC and crumb.get("type") != "http"
        ]


class EncodedTransaction(Item):
    """
    A transaction written as JSON.

    Text takes a tenth of the memory of the dictionaries it comes from, and is written in the thread
    that has just made them.

    Args:
        event: The event; with ``spans`` in it a hook has seen, and perhaps changed, them.
        spans: Each as JSON.
    """

    def __init__(self, event: dict[str, Any], spans: list[str]) -> None:
        size = sum(map(len, spans)) + len(spans) if "spans" not in event else 0
        text = _encode(event, _MAX_SIZE - size)
        self._spans = len(event.get("spans", spans))
        if "spans" not in event:
            text = f'{text[:-1]},"spans":[{",".join(spans)}]}}'
        super().__init__(text, type="transaction", content_type="application/json")

    def serialize_into(self, f: Any) -> None:
        """Write it as sentry-sdk does, which makes a JSON encoder for a header that is known."""
        text = self.get_bytes()
        f.write(_ITEM_HEADER % len(text))
        f.writelines((text, b"\n"))

    @property
    def data_category(self) -> Any:
        """Return what limits and client reports call it; sentry-sdk 3 no longer knows the type."""
        return "transaction"

    def get_transaction_event(self) -> Any:
        """Return what sentry-sdk counts where the transaction is lost."""
        return {"spans": [None] * self._spans}


def _encode(event: dict[str, Any], room: int) -> str:
    """
    Return an event as JSON.

    Where there is no room for all that scopes and the root hold, longer texts are cut, and of the
    breadcrumbs the older half goes, and again.
    """
    text = encode(event)
    if len(text) <= room:
        return text
    event = shorten(event, BRIEF_TEXT)
    text = encode(event)
    crumbs = event.get("breadcrumbs")
    left = crumbs.get("values", ()) if isinstance(crumbs, dict) else ()
    while len(text) > room and left:
        left = left[len(left) // 2 + 1 :]
        text = encode({**event, "breadcrumbs": {"values": left}})
    return text


def outline(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what scopes and event processors go by: the name and the ids, and no data."""
    trace = event["contexts"]["trace"]
    return {
        **{key: event[key] for key in _OUTLINE},
        "contexts": {"trace": {key: trace[key] for key in ("trace_id", "span_id", "op")}},
    }


def count_lost(reason: str, *, transactions: int, spans: int) -> None:
    """Count in sentry-sdk's client reports what does not leave the process."""
    transport = sentry_sdk.get_client().transport
    if transport is None:
        return
    try:
        if transactions:
            transport.record_lost_event(reason, "transaction", quantity=transactions)
        if spans:
            transport.record_lost_event(reason, "span", quantity=spans)
    except Exception as error:  # noqa: BLE001 - the transport may be the application's
        report("counting what is lost", error)


def _is_ready(key: str, value: Any, longest: int) -> bool:
    if key == "request" and value and "data" in value:  # a body has limits of its own
        return False
    return (not value or key in _OFTEN_PLAIN) and is_plain(value, longest)


def is_plain(value: Any, longest: int, depth: int = 3) -> bool:
    """
    Return whether sentry-sdk's serialiser leaves a part of an event as it is.

    Args:
        value: The part, or something in it; no request with a body.
        longest: Characters of a text, at most.
        depth: Of mappings in mappings.
    """
    kind = type(value)
    if kind is str:
        return len(value) <= longest
    if kind is dict:
        return depth > 0 and all(
            type(key) is str and is_plain(item, longest, depth - 1) for key, item in value.items()
        )
    return value is None or kind is bool or kind is int


def _run_hook(
    client: BaseClient, event: dict[str, Any], hint: dict[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    """Return what ``before_send_transaction`` lets through, and the reason if it is nothing."""
    hook = client.options.get("before_send_transaction")
    if hook is None:
        return event, ""
    with capture_internal_exceptions():
        return hook(event, hint), "before_send"
    return None, "callback_error"


def _now() -> str:
    """Return the time as sentry-sdk writes it, whose ``strftime`` asks for the time zone."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _time(crumb: Mapping[str, Any]) -> float:
    """Return a breadcrumb's time, in seconds; 0 where the application wrote none that is one."""
    when = crumb.get("timestamp", 0.0)
    try:
        if isinstance(when, str):
            when = datetime_from_isoformat(when)
        seconds = float(when.timestamp() if hasattr(when, "timestamp") else when)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return seconds if isfinite(seconds) else 0.0
