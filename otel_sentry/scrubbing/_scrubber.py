"""Apply the rules to attributes, texts and whole Sentry events."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from otel_sentry._logging import report
from otel_sentry.scrubbing._rules import (
    APART,
    BEARER,
    CARD,
    FILTERED,
    HARMLESS_ENDINGS,
    KEY,
    LIBRARY_KEYS,
    LINE,
    MAX_DEPTH,
    MAX_KEY,
    MAX_KNOWN_KEYS,
    MAX_REMEMBERED,
    MAX_REMEMBERED_TEXT,
    NAME,
    NETWORKS,
    PERSONAL_KEYS,
    PLACEHOLDER,
    PROTOCOL_KEYS,
    SECOND_WORDS,
    SEGMENTS,
    SENSITIVE_WORDS,
    SHAPES,
    SOURCE_KEYS,
    SQL_BETWEEN_QUOTES,
    SQL_KEYS,
    SQL_LITERAL,
    TOGETHER,
    VALUE,
    WHOLE_LINE,
    WORDS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Scrubber:
    """
    Remove what the rules name.

    Args:
        scrub_keys: More keys to remove; each also as a part of a longer key.
        keep_keys: Keys to keep whatever the rules say.
        scrub_user: Also remove what the application itself set as the user.
        send_default_pii: Keep IP addresses and what else :data:`PERSONAL_KEYS` names.
    """

    def __init__(
        self,
        scrub_keys: Iterable[str] = (),
        keep_keys: Iterable[str] = (),
        *,
        scrub_user: bool = False,
        send_default_pii: bool = False,
    ) -> None:
        self._more = tuple(filter(None, map(_normalise, scrub_keys)))
        self._keep = {_normalise(key) for key in keep_keys}
        self._scrub_user = scrub_user
        self._personal = () if send_default_pii else PERSONAL_KEYS
        self._known: dict[str, bool] = {}  # bounded by MAX_KNOWN_KEYS
        self._clean: set[str] = set()  # bounded by MAX_REMEMBERED; holds no secret

    def is_sensitive(self, key: str) -> bool:
        """Return whether the value under ``key`` must not leave the process."""
        known = self._known.get(key)
        if known is None:
            known = self._decide(key)
            if len(self._known) < MAX_KNOWN_KEYS and len(key) <= MAX_KEY:
                self._known[key] = known
        return known

    def _decide(self, key: str) -> bool:
        name = _normalise(key)
        if name in self._keep:
            return False
        if name.endswith(self._personal) or any(phrase in name for phrase in self._more):
            return True
        words = name.split("_")
        if words[-1] in HARMLESS_ENDINGS:
            return False
        return (
            not SENSITIVE_WORDS.isdisjoint(words)
            or any(phrase in f"_{name}" for phrase in APART)
            or any(
                phrase in segment
                for segment in SEGMENTS.findall(key.lower())
                for phrase in TOGETHER
            )
        )

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return span, event, link or resource attributes without secrets."""
        return {key: self._value(key, value, 0) for key, value in attributes.items()}

    def text(self, text: str) -> str:
        """Return a free text (a message, an URL, a query string, a body) without secrets."""
        if text in self._clean:
            return text
        pairs = "=" in text or ":" in text or " -" in text
        scrubbed = self._without_pairs(text) if pairs else text
        scrubbed = _without_shapes(scrubbed)
        if scrubbed == text and len(text) <= MAX_REMEMBERED_TEXT:
            if len(self._clean) >= MAX_REMEMBERED:
                self._clean.clear()
            self._clean.add(text)
        return scrubbed

    def statement(self, statement: str) -> str:
        """Return SQL without its literals, ``?`` stands for each; any other query as a text."""
        if statement.lstrip()[:1] in {"{", "["}:
            return self.text(statement)
        if "\\'" in statement:
            # An escaped quote in MySQL, an ordinary backslash in PostgreSQL.
            statement = SQL_BETWEEN_QUOTES.sub("?", statement)
        return _without_shapes(SQL_LITERAL.sub("?", statement))

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """
        Return a Sentry event (error, message or transaction, already serialised) without secrets.

        What the application set as the user stays, unless ``scrub_user``.
        """
        try:
            scrubbed = {
                key: value
                if key in {"user", "spans", "request"} | LIBRARY_KEYS
                else self._value(key, value, 0)
                for key, value in event.items()
            }
            if isinstance(event.get("user"), dict):
                scrubbed["user"] = self._user(event["user"])
            if isinstance(event.get("request"), dict):
                scrubbed["request"] = self._request(event["request"])
            if isinstance(event.get("spans"), list):
                scrubbed["spans"] = [self._span(span) for span in event["spans"]]
        except Exception as error:  # noqa: BLE001 - an event that cannot be scrubbed must not leave
            report("scrubbing an event", error)
            kept = ("event_id", "timestamp", "type", "platform", "level", "start_timestamp")
            return {key: event[key] for key in kept if key in event}
        return scrubbed

    def _user(self, user: dict[str, Any]) -> dict[str, Any]:
        personal = {"email", "username", "name", "ip_address"}
        return {
            key: (FILTERED if self._scrub_user else value)
            if key in personal
            else value
            if key == "id"
            else self._value(str(key), value, 0)
            for key, value in user.items()
        }

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        scrubbed = {key: self._value(key, value, 0) for key, value in request.items()}
        if isinstance(request.get("cookies"), dict):
            scrubbed["cookies"] = dict.fromkeys(request["cookies"], FILTERED)
        return scrubbed

    def _span(self, span: dict[str, Any]) -> dict[str, Any]:
        """Only three fields of a span hold what the application knows; the rest is protocol."""
        scrubbed = {**span, "data": self.attributes(span.get("data") or {})}
        description = span.get("description")
        if isinstance(description, str):
            clean = self.statement if span.get("op") == "db" else self.text
            scrubbed["description"] = clean(description)
        for key in ("tags", "links"):
            if key in span:
                scrubbed[key] = self._value(key, span[key], 0)
        return scrubbed

    def _value(self, key: str, value: Any, depth: int) -> Any:
        # No secret is a float, and durations have names like time_to_first_token.
        if value is None or isinstance(value, (bool, float)):
            return value
        if key in PROTOCOL_KEYS and isinstance(value, str):
            return value
        if self.is_sensitive(key):
            return FILTERED
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return (
            self._string(key, value) if isinstance(value, str) else self._other(key, value, depth)
        )

    def _string(self, key: str, value: str) -> str:
        if key in SQL_KEYS:
            return self.statement(value)
        return _without_shapes(value) if key in SOURCE_KEYS else self.text(value)

    def _other(self, key: str, value: Any, depth: int) -> Any:
        if isinstance(value, int):
            # Compared first: Python does not write numbers of thousands of digits.
            return FILTERED if 0 < value < 10**19 and _is_card(str(value)) else value
        if isinstance(value, dict) and depth < MAX_DEPTH:
            return self._mapping(value, depth + 1)
        if isinstance(value, (list, tuple)) and depth < MAX_DEPTH:
            return self._sequence(key, value, depth + 1)
        return value if isinstance(value, date) else FILTERED

    def _mapping(self, mapping: dict[Any, Any], depth: int) -> dict[Any, Any]:
        scrubbed = {key: self._value(str(key), value, depth) for key, value in mapping.items()}
        name = mapping.get("name", mapping.get("key"))
        if "value" in mapping and isinstance(name, str) and self.is_sensitive(name):
            scrubbed["value"] = FILTERED
        return scrubbed

    def _sequence(self, key: str, items: list[Any] | tuple[Any, ...], depth: int) -> Any:
        # A header is often a pair: ["authorization", "Bearer ..."].
        if len(items) == 2 and self._names_a_secret(items[0]):  # noqa: PLR2004
            return [items[0], FILTERED]
        # ... and a command line a list: ["--password", "..."].
        before = (None, *items)
        return [
            FILTERED
            if isinstance(flag, str) and flag.startswith("-") and self._names_a_secret(flag)
            else self._value(key, item, depth)
            for flag, item in zip(before, items, strict=False)
        ]

    def _names_a_secret(self, item: Any) -> bool:
        if isinstance(item, bytes):
            item = item.decode("latin-1")
        return isinstance(item, str) and bool(NAME.fullmatch(item)) and self.is_sensitive(item)

    def _without_pairs(self, text: str) -> str:
        parts: list[str] = []
        done = 0
        match = KEY.search(text)
        while match is not None:
            end = match.end()
            key = _key(match)
            if self.is_sensitive(key):
                # These headers have values with spaces, commas and pairs inside.
                header = match[2] == ":" and WHOLE_LINE.search(key)
                value = PLACEHOLDER.match(text, end)
                if value is None:
                    value = (LINE if header else VALUE).match(text, end)
                    if value is not None and value.end() > end:
                        parts += (text[done:end], FILTERED)
                        done = value.end()
                end = value.end() if value is not None else end
            match = KEY.search(text, end)
        return "".join((*parts, text[done:])) if parts else text


def _normalise(key: str) -> str:
    """Return ``http_request_header_x_api_key`` for ``http.request.header.X-Api-Key``."""
    return "_".join(WORDS.findall(key.removeprefix("b'"))).lower()


def _key(match: re.Match[str]) -> str:
    key = match[1] or match[3]
    if key in SECOND_WORDS:
        before = match.string[max(0, match.start() - 20) : match.start()]
        first = re.search(r"[A-Za-z]+(?= $)", before)
        return f"{first[0]} {key}" if first else key
    return unquote(key) if "%" in key else key


def _without_shapes(text: str) -> str:
    for needle, shape in SHAPES:
        if needle in text:
            text = shape.sub(FILTERED, text)
    if " " in text or "+" in text or "%20" in text:
        text = BEARER.sub(rf"\1{FILTERED}", text)
    return CARD.sub(_without_card, text)


def _without_card(match: re.Match[str]) -> str:
    text = match[0]
    if _is_card(text):
        return FILTERED
    # Its check value may follow in the same way of writing: 4111 1111 1111 1111 123.
    return FILTERED + text[-4:] if not text[-4].isdigit() and _is_card(text[:-4]) else text


def _is_card(text: str) -> bool:
    """Return whether this is a card number: of a network, with a valid check digit (Luhn)."""
    text = re.sub(r"\D", "", text)
    if not NETWORKS.fullmatch(text):
        return False
    digits = [int(character) for character in text]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]  # noqa: PLR2004
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
