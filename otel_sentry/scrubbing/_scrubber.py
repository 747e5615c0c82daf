"""Apply the rules to attributes, texts and whole Sentry events."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import report
from otel_sentry.options import Options
from otel_sentry.scrubbing._keys import Keys
from otel_sentry.scrubbing._known import Remover
from otel_sentry.scrubbing._marks import FILTERED, Removed, merged, remarks
from otel_sentry.scrubbing._review import reviewed
from otel_sentry.scrubbing._routes import Routes
from otel_sentry.scrubbing._rules import (
    KEY_VALUE_STORES,
    LIBRARY_KEYS,
    MAX_KNOWN_KEYS,
    PATH_KEYS,
    PROTOCOL_KEYS,
    ROUTE_KEYS,
    SPECIAL_KEYS,
    SQL_KEYS,
    SYSTEM_KEYS,
)
from otel_sentry.scrubbing._texts import Texts
from otel_sentry.scrubbing._values import SMALLEST_CARD, Values, Walk, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

_PERSONAL_FIELDS = frozenset({"email", "username", "name", "ip_address"})
_PARAMETER = re.compile(r"%\((\w{1,100})\)|\{(\w{1,100})")  # of a log line
_MAX_PARAMETERS = 100
_OWN_WAY = LIBRARY_KEYS | {"_meta", "level", "platform", "request", "spans"}
_OWN_WAY |= {"start_timestamp", "timestamp", "type", "user"}

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
        self._routes = Routes(self._keys)
        self._scrub_user = scrub_user
        self._options = options or Options()
        self._values = Values(self._keys, self._texts)
        self._ordinary = self._values.ordinary

    remarks = staticmethod(remarks)

    @property
    def callback(self) -> Callable[[str, Any, str | None], Any] | None:
        """Who has the last word; what was scrubbed under another one is scrubbed anew."""
        return self._options.scrub

    def is_sensitive(self, key: str) -> bool:
        """Return whether the value under ``key`` must not leave the process."""
        return bool(self._keys.rule_of(key))

    def path_secrets(self, attributes: Mapping[str, Any]) -> frozenset[str]:
        """Return what the route among a span's attributes says to be secret in its path."""
        route = _first(attributes, ROUTE_KEYS)
        if route is None:
            return frozenset()
        return self._routes.secrets(route, [attributes.get(key) for key in PATH_KEYS])

    def attributes(
        self, attributes: Mapping[str, Any], secrets: Collection[str] = ()
    ) -> dict[str, Any]:
        """
        Return span, event, link or resource attributes without secrets.

        Args:
            attributes: The attributes.
            secrets: Texts to remove, too, wherever they stand: see :meth:`path_secrets`.
        """
        try:
            ordinary, clean = self._ordinary, self._texts.clean
            scrubbed = {
                key: value
                if key in ordinary
                and (
                    value in clean
                    if type(value) is str
                    else type(value) is int and value < SMALLEST_CARD
                )
                else self._values.value(key if type(key) is str else text_of(key), value)
                for key, value in attributes.items()
            }
            if not ordinary.issuperset(scrubbed):
                scrubbed = self._special(attributes, scrubbed)
            if secrets:
                scrubbed = Remover(secrets, "route_parameter").of_attributes(scrubbed)
            if self._options.scrub is not None:
                return self._reviewed(dict(attributes), scrubbed)
        except Exception as error:  # noqa: BLE001 - what cannot be scrubbed must not leave
            report("scrubbing attributes", error)
            return {}
        return scrubbed

    def text(self, text: str, secrets: Collection[str] = ()) -> str:
        """Return a free text (a message, an URL, a query string, a body) without secrets."""
        if secrets:
            remove = Remover(secrets, "route_parameter").of_data
            return self._single(lambda text: remove(self._texts.text(text)), text)
        if text in self._texts.clean and self._options.scrub is None:
            return text
        return self._single(self._texts.text, text)

    def log_line(self, line: str, template: Any, parameters: Mapping[str, Any]) -> str:
        """
        Return a log line without secrets, and without what its parameters' names say to be one.

        Args:
            line: The line.
            template: What it was made of: ``tried %(token)s`` or ``tried {token}``.
            parameters: What stands for the names.
        """
        return self._single(lambda line: self._log_line(line, template, parameters), line)

    def _log_line(self, line: str, template: Any, parameters: Mapping[str, Any]) -> str:
        names = _PARAMETER.finditer(template) if isinstance(template, str) else ()
        said = {
            _short(parameters.get(name))
            for match in islice(names, _MAX_PARAMETERS)
            if self._keys.rule_of(name := match[1] or match[2])
        }
        secrets = {one for one in said if one not in FILTERED}
        return self._texts.text(Remover(secrets, "parameters").of_data(line) if secrets else line)

    def statement(self, statement: str, system: str = "") -> str:
        """Return SQL without its literals, ``?`` stands for each; any other query as a text."""
        return self._single(lambda text: self._texts.statement(text, system), statement)

    def description(
        self, op: str, description: str, system: Any = "", secrets: Collection[str] = ()
    ) -> str:
        """
        Return a span's description without secrets.

        Args:
            op: Tells how to read it.
            description: The description.
            system: ``db.system.name``, where there is one.
            secrets: Of the path, where the span has a route: see :meth:`path_secrets`.
        """
        system = system if isinstance(system, str) else ""
        if op == "db" and system not in KEY_VALUE_STORES:
            return self.statement(description, system)
        if op in {"db", "db.redis"} or op.startswith("cache."):
            return self._single(self._texts.commands_or_keys, description)
        return self.text(description, secrets)

    def event(self, event: dict[str, Any], secrets: Collection[str] = ()) -> dict[str, Any]:
        """
        Return a Sentry event (error, message or transaction, already serialised) without secrets.

        What the application set as the user stays, unless ``scrub_user``. ``_meta`` says which
        rule removed what.

        Args:
            event: The event.
            secrets: Texts to remove, too, wherever they stand: see :meth:`path_secrets`.
        """
        try:
            return self._event(event, frozenset(secrets))
        except Exception as error:  # noqa: BLE001 - an event that cannot be scrubbed must not leave
            report("scrubbing an event", error)
            kept = ("event_id", "timestamp", "type", "platform", "level", "start_timestamp")
            return {key: event[key] for key in kept if key in event}

    def _event(self, event: dict[str, Any], secrets: frozenset[str]) -> dict[str, Any]:
        scrubbed = {
            key: value
            if key in _OWN_WAY or (key in PROTOCOL_KEYS and isinstance(value, str))
            else self._values.value(key, value, Walk(is_data=False))
            for key, value in event.items()
        }
        user, request, spans = (event.get(key) for key in ("user", "request", "spans"))
        if isinstance(event.get("logentry"), dict):
            scrubbed["logentry"] = self._logentry(event["logentry"])
        if isinstance(user, dict):
            scrubbed["user"] = self._user(user)
        if isinstance(request, dict):
            scrubbed["request"] = self._request(request)
            urls = [request.get("url"), scrubbed["request"].get("url")]
            secrets |= self._routes.secrets(event.get("transaction"), urls)
        if secrets:
            scrubbed = Remover(secrets, "route_parameter").of_event(scrubbed)
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
        return self._values.value(key, value, Walk())

    def _logentry(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What a parameter means only the text around it says: ``password=%s``."""
        scrubbed = {key: self._values.value(key, value, Walk()) for key, value in entry.items()}
        params, text = entry.get("params"), entry.get("formatted")
        if isinstance(params, dict) and isinstance(text, str):
            scrubbed["formatted"] = self._log_line(text, entry.get("message"), params)
        if isinstance(params, (list, tuple)) and (text is None or text != scrubbed["formatted"]):
            scrubbed["params"] = [Removed(FILTERED, "parameters") for _ in params]
        return scrubbed

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        scrubbed = {key: self._values.value(key, value, Walk()) for key, value in request.items()}
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
                scrubbed[key] = self._values.value(key, span[key], Walk())
        return scrubbed

    def _special(self, said: Mapping[str, Any], scrubbed: dict[str, Any]) -> dict[str, Any]:
        """Look at the keys themselves, and at attributes that say how to read another one."""
        special = scrubbed.keys() - self._ordinary
        odd = False
        for key in special - SPECIAL_KEYS:
            if not isinstance(key, str) or self._values.clean_key(key) != key:
                odd = True
            elif not self._keys.rule_of(key) and len(self._ordinary) < MAX_KNOWN_KEYS:
                self._ordinary.add(key)
        if odd:
            scrubbed = self._values.with_clean_keys(scrubbed)
        if not special.isdisjoint(SQL_KEYS):
            system = _system_of(scrubbed)
            for key in special & SQL_KEYS:
                if isinstance(scrubbed[key], str):
                    scrubbed[key] = self._of_system(scrubbed[key], system)
        if not special.isdisjoint(ROUTE_KEYS):
            secrets = self.path_secrets(said)
            if secrets:
                secrets |= self.path_secrets({**scrubbed, **_routes_of(said)})
                scrubbed = Remover(secrets, "route_parameter").of_attributes(scrubbed)
        return scrubbed

    def _clean_meta(self, meta: Any) -> dict[str, Any]:
        """Return sentry-sdk's own ``_meta``: lengths and rules, under the keys of the event."""
        if not isinstance(meta, dict):
            return {}
        return self._values.with_clean_keys(
            {
                key: self._clean_meta(item) if key and isinstance(item, dict) else item
                for key, item in meta.items()
            }
        )

    def _of_system(self, statement: str, system: str) -> str:
        if system in KEY_VALUE_STORES:
            return self._texts.command(statement)
        return self._texts.statement(statement, system)

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


def _first(mapping: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((mapping[key] for key in keys if key in mapping), None)


def _short(value: Any) -> str:
    """Return a text or a number as a text; empty where it is neither."""
    if type(value) is int and abs(value) < 10**19:
        return str(value)
    return str(value) if isinstance(value, str) else ""


def _routes_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: attributes[key] for key in ROUTE_KEYS if key in attributes}


def _system_of(attributes: Mapping[str, Any]) -> str:
    system = _first(attributes, SYSTEM_KEYS)
    return system if isinstance(system, str) else ""
