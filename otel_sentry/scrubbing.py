"""
Remove secrets and personal data: one rule set, applied last on every road out of the process.

The tables below are the rules; :class:`Scrubber` applies them to attributes, texts and whole
Sentry events. It is idempotent, takes linear time on any input and never raises: what it cannot
look into is removed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILTERED = "[Filtered]"
"""What stands in the place of a removed value; the marker that Sentry's own scrubber uses."""

SENSITIVE_WORDS = frozenset(
    """
    auth authentication authorization bearer cookie cookies credential credentials creds csrf
    csrftoken cvc cvv jwt mysql_pwd otp passphrase passwd password passwords pin privatekey pwd
    secret secrets session sessionid sid signature ssn token xsrf xsrftoken
    """.split()
)
"""A key is sensitive when one of its words (``userPassword``, ``x-auth-token``) is one of these."""

SENSITIVE_PHRASES = (
    "access_key",
    "access_token",
    "account_key",
    "api_key",
    "apikey",
    "auth_token",
    "card_number",
    "client_secret",
    "credit_card",
    "encryption_key",
    "id_token",
    "password",
    "passwd",
    "private_key",
    "refresh_token",
    "secret",
    "set_cookie",
    "signing_key",
    "x_session",
)
"""... or when it holds one of these anywhere (``dbpassword``, ``x-api-key``)."""

PERSONAL_KEYS = (
    "cf_connecting_ip",
    "client_address",
    "client_ip",
    "enduser_id",
    "fly_client_ip",
    "forwarded",
    "http_client_ip",
    "ip_address",
    "net_peer_ip",
    "net_sock_peer_addr",
    "network_peer_address",
    "remote_addr",
    "true_client_ip",
    "x_client_ip",
    "x_cluster_client_ip",
    "x_forwarded_for",
    "x_real_ip",
)
"""Keys, or their ends, whose values are personal data; kept with ``SENTRY_SEND_DEFAULT_PII``."""

_SQL_KEYS = frozenset({"db.statement", "db.query.text"})

# Sentry's protocol: set by the configuration or made by us, and told apart by their exact text.
_PROTOCOL_KEYS = frozenset(
    {"dist", "environment", "event_id", "parent_span_id", "release", "span_id", "trace_id"}
)

# Source code, not data: `token = read_token()` must stay readable.
_SOURCE_KEYS = frozenset(
    {"abs_path", "context_line", "filename", "function", "module", "post_context", "pre_context"}
)

# Sentry's own vocabulary, whose words look sensitive and are not.
_HARMLESS_KEYS = frozenset({"public_key", "sessions", "session_mode", "has_session"})

_MAX_DEPTH = 64  # deeper than sentry-sdk serialises; bounds the recursion
_MAX_KNOWN_KEYS = 10_000  # bound of the cache of decided keys; beyond it keys are decided anew
_MAX_KEY = 200

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# The secrets that their shape gives away, each with a text that must be there for it to match: a
# plain search is much cheaper than a regular expression. Every quantifier is bounded or cannot
# backtrack.
_SHAPES = tuple(
    (needle, re.compile(pattern))
    for needle, pattern in (
        (
            "-----BEGIN",
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-(?!----END)){0,20000}"
            r"(?:-----END[A-Z ]{0,60}-----)?",
        ),
        ("eyJ", r"\beyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?"),
        ("://", r"(?<=://)[^\s/?#@:]{0,256}:[^\s/?#@]{1,256}(?=@)"),
        # The last part of an e-mail address has no digit: `shop@1.2.3` is a release.
        ("@", r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,63}(?![\w.-]*\d)"),
        ("sk_", r"\bsk_(?:live|test)_\w{8,}"),
        ("gh", r"\bgh[pousr]_\w{20,}"),
        ("xox", r"\bxox[abprs]-[\w-]{10,}"),
        ("AKIA", r"\bAKIA[0-9A-Z]{16}\b"),
    )
)
_SCHEME = r"(?:bearer|basic|digest|token)\s{1,4}"
_BEARER = re.compile(rf"\b({_SCHEME})[\w.~+/=:-]{{6,}}", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w.-])")

# `key=value`, `key: value`, `"key": "value"` inside a text, an URL or a form.
_KEY = re.compile(
    r"(?<![\w.%-])([\w.%-]{1,80}(?:\[[\w-]{0,40}\]){0,3})\\?[\"']?\s{0,4}[=:](?!//)\s{0,4}"
)
_VALUE = re.compile(
    r"\[Filtered\]"
    r"|\\?\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?"
    rf"|(?:{_SCHEME})?[^\s&;,\"'}}\]<>)]+",
    re.IGNORECASE,
)
_REST_OF_LINE = re.compile(r"[^\r\n\"']*")

_MAX_REMEMBERED_TEXT = 256
_MAX_REMEMBERED = 8192  # bound of the cache of texts that hold nothing to remove

_SQL_LITERAL = re.compile(
    r"'(?:[^']|'')*'?|\$\$.*?(?:\$\$|$)|(?<![\w.$:%@?])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)",
    re.IGNORECASE | re.DOTALL,
)


class Scrubber:
    """
    Remove what the rules name.

    Args:
        scrub_keys: More keys to remove (compared like :data:`SENSITIVE_PHRASES`).
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
        self._phrases = (*SENSITIVE_PHRASES, *map(_normalise, scrub_keys))
        self._keep = _HARMLESS_KEYS | {_normalise(key) for key in keep_keys}
        self._scrub_user = scrub_user
        self._personal = () if send_default_pii else PERSONAL_KEYS
        self._known: dict[str, bool] = {}  # bounded by _MAX_KNOWN_KEYS
        self._clean: set[str] = set()  # bounded by _MAX_REMEMBERED; holds no secret

    def is_sensitive(self, key: str) -> bool:
        """Return whether the value under ``key`` must not leave the process."""
        known = self._known.get(key)
        if known is None:
            known = self._decide(_normalise(key[:_MAX_KEY]))
            if len(self._known) < _MAX_KNOWN_KEYS:
                self._known[key] = known
        return known

    def _decide(self, key: str) -> bool:
        if key in self._keep:
            return False
        words = key.split("_")
        return (
            not SENSITIVE_WORDS.isdisjoint(words)
            or any(phrase in key for phrase in self._phrases)
            or any(key.endswith(personal) for personal in self._personal)
        )

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return span, event, link or resource attributes without secrets."""
        return {key: self._value(key, value, 0) for key, value in attributes.items()}

    def text(self, text: str) -> str:
        """Return a free text (a message, an URL, a query string, a body) without secrets."""
        if text in self._clean:
            return text
        scrubbed = self._without_pairs(text) if "=" in text or ":" in text else text
        scrubbed = _without_shapes(scrubbed)
        if scrubbed == text and len(text) <= _MAX_REMEMBERED_TEXT:
            if len(self._clean) >= _MAX_REMEMBERED:
                self._clean.clear()
            self._clean.add(text)
        return scrubbed

    def statement(self, statement: str) -> str:
        """Return SQL without its literals; ``?`` stands for each."""
        return self.text(_SQL_LITERAL.sub("?", statement))

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """
        Return a Sentry event (error, message or transaction, already serialised) without secrets.

        What the application set as the user stays, unless ``scrub_user``.
        """
        try:
            scrubbed = {
                key: value
                if key in {"user", "spans", "request"}
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
        personal = {"email", "username", "name", "ip_address"} if self._scrub_user else set()
        return {
            key: FILTERED if key in personal or self.is_sensitive(key) and key != "ip_address"
            else value
            for key, value in user.items()
        }

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        scrubbed = {key: self._value(key, value, 0) for key, value in request.items()}
        if isinstance(request.get("cookies"), dict):
            scrubbed["cookies"] = dict.fromkeys(request["cookies"], FILTERED)
        return scrubbed

    def _span(self, span: dict[str, Any]) -> dict[str, Any]:
        scrubbed = self._mapping(span, 0)
        if span.get("op") == "db" and isinstance(span.get("description"), str):
            scrubbed["description"] = self.statement(span["description"])
        return scrubbed

    def _value(self, key: str, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if key in _PROTOCOL_KEYS and isinstance(value, str):
            return value
        if self.is_sensitive(key):
            return FILTERED
        if isinstance(value, str):
            if key in _SQL_KEYS:
                return self.statement(value)
            return _without_shapes(value) if key in _SOURCE_KEYS else self.text(value)
        if isinstance(value, int):
            return FILTERED if _is_card(str(value)) else value
        if depth >= _MAX_DEPTH:
            return FILTERED
        if isinstance(value, dict):
            return self._mapping(value, depth + 1)
        if isinstance(value, (list, tuple)):
            return self._sequence(key, value, depth + 1)
        return value

    def _mapping(self, mapping: dict[Any, Any], depth: int) -> dict[Any, Any]:
        return {
            key: self._value(key if isinstance(key, str) else str(key), value, depth)
            for key, value in mapping.items()
        }

    def _sequence(self, key: str, items: list[Any] | tuple[Any, ...], depth: int) -> Any:
        # A header is often a pair: ["authorization", "Bearer ..."].
        if len(items) == 2 and isinstance(items[0], str) and self.is_sensitive(items[0]):  # noqa: PLR2004
            return [items[0], FILTERED]
        return [self._value(key, item, depth) for item in items]

    def _without_pairs(self, text: str) -> str:
        parts: list[str] = []
        done = 0
        match = _KEY.search(text)
        while match is not None:
            end = match.end()
            if self.is_sensitive(match[1]):
                whole_line = "cookie" in match[1].lower()
                value = (_REST_OF_LINE if whole_line else _VALUE).match(text, end)
                if value is not None and value.end() > end:
                    parts += (text[done:end], FILTERED)
                    done = end = value.end()
            match = _KEY.search(text, end)
        return "".join((*parts, text[done:])) if parts else text


def _normalise(key: str) -> str:
    """Return ``http_request_header_x_api_key`` for ``http.request.header.X-Api-Key``."""
    return "_".join(_WORDS.findall(key.removeprefix("b'"))).lower()


def _without_shapes(text: str) -> str:
    for needle, shape in _SHAPES:
        if needle in text:
            text = shape.sub(FILTERED, text)
    if " " in text:
        text = _BEARER.sub(rf"\1{FILTERED}", text)
    return _CARD.sub(lambda match: FILTERED if _is_card(match[0]) else match[0], text)


def _is_card(text: str) -> bool:
    """Return whether the digits are a card number: 13 to 19 with a valid check digit (Luhn)."""
    digits = [int(character) for character in text if character.isdigit()]
    # ISO/IEC 7812: card networks start with 2 to 6; a time in nanoseconds starts with 1.
    if not 13 <= len(digits) <= 19 or not 2 <= digits[0] <= 6:  # noqa: PLR2004
        return False
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]  # noqa: PLR2004
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
