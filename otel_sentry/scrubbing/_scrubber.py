"""Apply the rules to attributes, texts and whole Sentry events."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import report
from otel_sentry.options import Options
from otel_sentry.scrubbing import _routes
from otel_sentry.scrubbing._keys import Keys
from otel_sentry.scrubbing._marks import FILTERED, Removed, merged, remarks
from otel_sentry.scrubbing._review import reviewed
from otel_sentry.scrubbing._rules import (
    CACHE_KEYS,
    KEY_VALUE_STORES,
    LIBRARY_KEYS,
    MAX_DEPTH,
    MAX_KNOWN_KEYS,
    MAX_VALUES,
    PATH_KEYS,
    PROTOCOL_KEYS,
    ROUTE_KEYS,
    SOURCE_KEYS,
    SQL_KEYS,
    SYSTEM_KEYS,
)
from otel_sentry.scrubbing._texts import Texts, is_card

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_NAME = re.compile(r"(?:b')?[\w.-]+'?")
_SPECIAL_KEYS = PROTOCOL_KEYS | SQL_KEYS | CACHE_KEYS | SOURCE_KEYS | frozenset(ROUTE_KEYS)
_PERSONAL_FIELDS = frozenset({"email", "username", "name", "ip_address"})
_OWN_WAY = LIBRARY_KEYS | {"_meta", "request", "spans", "user"}

# What Sentry cannot do without: no callback is asked about it.
_NOT_REVIEWED = (
    LIBRARY_KEYS
    | PROTOCOL_KEYS
    | {"_meta", "level", "platform", "start_timestamp", "timestamp", "type"}
)


class Scrubber:
    """
    Remove what the rules name.

    Args:
        scrub_keys: More keys to remove; each also as a part of a longer key.
        keep_keys: Keys to keep whatever the rules say.
        scrub_user: Also remove what the application itself set as the user.
        send_default_pii: Keep IP addresses and what else :data:`PERSONAL_KEYS` names.
        options: Whose callback ``scrub`` has the last word.
    """

    def __init__(
        self,
        scrub_keys: Iterable[str] = (),
        keep_keys: Iterable[str] = (),
        *,
        scrub_user: bool = False,
        send_default_pii: bool = False,
        options: Options | None = None,
    ) -> None:
        self._keys = Keys(scrub_keys, keep_keys, send_default_pii=send_default_pii)
        self._texts = Texts(self._keys)
        self._routes = _routes.Routes(self._keys)
        self._scrub_user = scrub_user
        self._options = options or Options()
        # Keys without a secret in them, and under them a text like any other; bounded by
        # MAX_KNOWN_KEYS.
        self._ordinary: set[str] = set()

    remarks = staticmethod(remarks)

    @property
    def callback(self) -> Callable[[str, Any, str | None], Any] | None:
        """Who has the last word; what was scrubbed under another one is scrubbed anew."""
        return self._options.scrub

    def is_sensitive(self, key: str) -> bool:
        """Return whether the value under ``key`` must not leave the process."""
        return bool(self._keys.rule_of(key))

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return span, event, link or resource attributes without secrets."""
        try:
            ordinary, clean = self._ordinary, self._texts.clean
            scrubbed = {
                key: value
                if key in ordinary and type(value) is str and value in clean
                else self._value(key if type(key) is str else _text_of(key), value)
                for key, value in attributes.items()
            }
            if not ordinary.issuperset(scrubbed):
                scrubbed = self._special(scrubbed)
            if self._options.scrub is not None:
                return self._reviewed(dict(attributes), scrubbed)
        except Exception as error:  # noqa: BLE001 - what cannot be scrubbed must not leave
            report("scrubbing attributes", error)
            return {}
        return scrubbed

    def text(self, text: str) -> str:
        """Return a free text (a message, an URL, a query string, a body) without secrets."""
        if text in self._texts.clean and self._options.scrub is None:
            return text
        return self._single(self._texts.text, text)

    def statement(self, statement: str, system: str = "") -> str:
        """Return SQL without its literals, ``?`` stands for each; any other query as a text."""
        return self._single(lambda text: self._texts.statement(text, system), statement)

    def description(self, op: str, description: str, system: Any = "") -> str:
        """
        Return a span's description without secrets.

        Args:
            op: Tells how to read it.
            description: The description.
            system: ``db.system.name``, where there is one.
        """
        system = system if isinstance(system, str) else ""
        if op == "db" and system not in KEY_VALUE_STORES:
            return self.statement(description, system)
        if op in {"db", "db.redis"} or op.startswith("cache."):
            return self._single(self._texts.commands_or_keys, description)
        return self.text(description)

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """
        Return a Sentry event (error, message or transaction, already serialised) without secrets.

        What the application set as the user stays, unless ``scrub_user``. ``_meta`` says which
        rule removed what.
        """
        try:
            return self._event(event)
        except Exception as error:  # noqa: BLE001 - an event that cannot be scrubbed must not leave
            report("scrubbing an event", error)
            kept = ("event_id", "timestamp", "type", "platform", "level", "start_timestamp")
            return {key: event[key] for key in kept if key in event}

    def _event(self, event: dict[str, Any]) -> dict[str, Any]:
        scrubbed = {
            key: value if key in _OWN_WAY else self._value(key, value)
            for key, value in event.items()
        }
        user, request, spans = (event.get(key) for key in ("user", "request", "spans"))
        if isinstance(event.get("logentry"), dict):
            scrubbed["logentry"] = self._logentry(event["logentry"])
        if isinstance(user, dict):
            scrubbed["user"] = self._user(user)
        if isinstance(request, dict):
            scrubbed["request"] = self._request(request)
            secrets = self._routes.secrets(event.get("transaction"), [request.get("url")])
            if secrets:
                scrubbed = {
                    key: value if key in LIBRARY_KEYS else _routes.without(value, secrets)
                    for key, value in scrubbed.items()
                }
        if isinstance(spans, list):
            scrubbed["spans"] = [self._span(span) for span in spans]
        if self._options.scrub is not None:
            scrubbed = self._reviewed(event, scrubbed)
        if scrubbed != event:
            meta = scrubbed.pop("_meta", None)
            meta = merged(self._clean_meta(meta), remarks(scrubbed))
            if meta:
                scrubbed["_meta"] = meta
        return scrubbed

    def _user(self, user: dict[str, Any]) -> dict[str, Any]:
        """Return what the application said of its user: its personal data is meant to be there."""
        return {key: self._of_user(str(key), value) for key, value in user.items()}

    def _of_user(self, key: str, value: Any) -> Any:
        rule = self._keys.rule_of(key)
        is_personal = rule == "personal_key" or key in _PERSONAL_FIELDS
        if is_personal and not rule.startswith(("own", "sensitive")):
            return Removed(FILTERED, "user") if self._scrub_user else value
        if key == "id" and not self._scrub_user:
            return value
        return self._value(key, value)

    def _logentry(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What a parameter means only the text around it says: ``password=%s``."""
        scrubbed = {key: self._value(key, value) for key, value in entry.items()}
        params, text = entry.get("params"), entry.get("formatted")
        if isinstance(params, (list, tuple)) and (text is None or text != scrubbed["formatted"]):
            scrubbed["params"] = [Removed(FILTERED, "parameters") for _ in params]
        return scrubbed

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        scrubbed = {key: self._value(key, value) for key, value in request.items()}
        cookies = request.get("cookies")
        if isinstance(cookies, dict):
            scrubbed["cookies"] = {
                key: value if self._keys.is_kept(str(key)) else Removed(FILTERED, "sensitive_key")
                for key, value in cookies.items()
            }
        return scrubbed

    def _span(self, span: dict[str, Any]) -> dict[str, Any]:
        """Only five fields of a span hold what the application knows; the rest is protocol."""
        scrubbed = dict(span)
        if isinstance(span.get("data"), dict):
            scrubbed["data"] = self.attributes(span["data"])
        description = span.get("description")
        if isinstance(description, str):
            system = _system_of(span.get("data") or {})
            scrubbed["description"] = self.description(str(span.get("op")), description, system)
        for key in ("op", "tags", "links"):
            if key in span:
                scrubbed[key] = self._value(key, span[key])
        return scrubbed

    def _special(self, scrubbed: dict[str, Any]) -> dict[str, Any]:
        """Look at the keys themselves, and at attributes that say how to read another one."""
        special = scrubbed.keys() - self._ordinary
        odd = False
        for key in special - _SPECIAL_KEYS:
            if not isinstance(key, str) or self._texts.source(key) != key:
                odd = True
            elif not self._keys.rule_of(key) and len(self._ordinary) < MAX_KNOWN_KEYS:
                self._ordinary.add(key)
        if odd:
            scrubbed = self._with_clean_keys(scrubbed)
        if not special.isdisjoint(SQL_KEYS):
            system = _system_of(scrubbed)
            for key in special & SQL_KEYS:
                if isinstance(scrubbed[key], str):
                    scrubbed[key] = self._of_system(scrubbed[key], system)
        if not special.isdisjoint(ROUTE_KEYS):
            paths = [scrubbed.get(key) for key in PATH_KEYS]
            secrets = self._routes.secrets(_first(scrubbed, ROUTE_KEYS), paths)
            if secrets:
                scrubbed = _routes.without(scrubbed, secrets)
        return scrubbed

    def _of_system(self, statement: str, system: str) -> str:
        if system in KEY_VALUE_STORES:
            return self._texts.command(statement)
        return self._texts.statement(statement, system)

    def _value(self, key: str, value: Any, walk: _Walk | None = None) -> Any:  # noqa: PLR0911 - one a kind
        is_text = type(value) is str  # nearly always
        # No secret is a float, and durations have names like time_to_first_token.
        if not is_text and (value is None or isinstance(value, (bool, float))):
            return value
        if key in PROTOCOL_KEYS and (is_text or isinstance(value, str)):
            return value
        rule = self._keys.rule_of(key)
        if rule:
            return value if value == FILTERED else Removed(FILTERED, rule)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if is_text or isinstance(value, str):
            return self._string(key, value)
        if isinstance(value, int):
            # Compared first: Python does not write numbers of thousands of digits.
            is_secret = 0 < value < 10**19 and is_card(str(value))
            return Removed(FILTERED, "card_number") if is_secret else value
        if isinstance(value, date):
            return value
        return self._container(key, value, walk or _Walk())

    def _string(self, key: str, value: str) -> str:
        if key in SQL_KEYS:
            return self._texts.statement(value)
        if key in CACHE_KEYS:
            return self._texts.cache_keys(value)
        return self._texts.source(value) if key in SOURCE_KEYS else self._texts.text(value)

    def _container(self, key: str, value: Any, walk: _Walk) -> Any:
        if not isinstance(value, (dict, list, tuple)):
            return Removed(FILTERED, "unreadable")
        walk.left -= len(value)
        if id(value) in walk.open or len(walk.open) >= MAX_DEPTH or walk.left < 0:
            return Removed(FILTERED, "size")
        walk.open.add(id(value))
        if isinstance(value, dict):
            scrubbed: Any = self._mapping(value, walk)
        else:
            scrubbed = self._sequence(key, value, walk)
        walk.open.discard(id(value))
        return scrubbed

    def _mapping(self, mapping: dict[Any, Any], walk: _Walk) -> dict[str, Any]:
        scrubbed: dict[Any, Any] = {
            key: self._value(_text_of(key), value, walk) for key, value in mapping.items()
        }
        name = mapping.get("name", mapping.get("key"))
        if "value" in mapping and isinstance(name, str) and (rule := self._keys.rule_of(name)):
            scrubbed["value"] = Removed(FILTERED, rule)
        if "client" in mapping and "scheme" in mapping and self._keys.removes_personal_data:
            scrubbed["client"] = Removed(FILTERED, "personal_key")  # an ASGI scope: the address
        if mapping.get("in_app") is False and isinstance(scrubbed.get("vars"), dict):
            # Frameworks hold the whole request, and drivers parameters that no name tells.
            scrubbed["vars"] = dict.fromkeys(scrubbed["vars"], Removed(FILTERED, "library_frame"))
        message = mapping.get("message")
        way = self._of_breadcrumb(mapping.get("category"))
        if way is not None and isinstance(message, str):
            scrubbed["message"] = way(message)
        return self._with_clean_keys(scrubbed)

    def _of_breadcrumb(self, category: Any) -> Callable[[str], str] | None:
        """Return how to read the messages of breadcrumbs that sentry-sdk leaves for queries."""
        if category == "query":
            return self._texts.statement
        return self._texts.command if category == "redis" else None

    def _with_clean_keys(self, mapping: dict[Any, Any]) -> dict[str, Any]:
        if self._ordinary.issuperset(mapping):
            return mapping
        clean: dict[str, Any] = {}
        for key, value in mapping.items():
            name = self._texts.source(_text_of(key))
            clean[name if name not in clean else f"{name} ({len(clean)})"] = value
        return clean

    def _clean_meta(self, meta: Any) -> dict[str, Any]:
        """Return sentry-sdk's own ``_meta``: lengths and rules, under the keys of the event."""
        if not isinstance(meta, dict):
            return {}
        return self._with_clean_keys(
            {
                key: self._clean_meta(item) if key and isinstance(item, dict) else item
                for key, item in meta.items()
            }
        )

    def _sequence(self, key: str, items: list[Any] | tuple[Any, ...], walk: _Walk) -> list[Any]:
        # A header is often a pair: ["authorization", "Bearer ..."].
        if len(items) == 2 and (rule := self._rule_of_name(items[0])):  # noqa: PLR2004
            return [items[0], Removed(FILTERED, rule)]
        # ... and a command line a list: ["--password", "..."].
        before = (None, *items)
        return [
            Removed(FILTERED, rule)
            if isinstance(flag, str) and flag.startswith("-") and (rule := self._rule_of_name(flag))
            else self._value(key, item, walk)
            for flag, item in zip(before, items, strict=False)
        ]

    def _rule_of_name(self, item: Any) -> str:
        if isinstance(item, bytes):
            item = item.decode("latin-1")
        is_name = isinstance(item, str) and _NAME.fullmatch(item)
        return self._keys.rule_of(item) if is_name else ""

    def _single(self, way: Callable[[str], str], text: str) -> str:
        """Scrub a text that stands alone: a span's name or description, a message."""
        try:
            scrubbed = way(text)
            if self._options.scrub is not None:
                return str(reviewed(text, scrubbed, self._options.scrub))
        except Exception as error:  # noqa: BLE001 - what cannot be scrubbed must not leave
            report("scrubbing a text", error)
            return FILTERED
        return scrubbed

    def _reviewed(self, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
        callback = self._options.scrub
        return {
            new: value
            if callback is None or key in _NOT_REVIEWED
            else reviewed(before[key], value, callback, new)
            for key, (new, value) in zip(before, after.items(), strict=True)
        }


class _Walk:
    """What is left to look at of one value, and the lists and mappings it is inside of."""

    __slots__ = ("left", "open")

    def __init__(self) -> None:
        self.left = MAX_VALUES
        self.open: set[int] = set()


def _first(mapping: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((mapping[key] for key in keys if key in mapping), None)


def _system_of(attributes: Mapping[str, Any]) -> str:
    system = _first(attributes, SYSTEM_KEYS)
    return system if isinstance(system, str) else ""


def _text_of(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
