"""
Remove secrets and personal data: one rule set, applied last on every road out of the process.

The tables below are the rules; :class:`Scrubber` applies them to attributes, texts and whole
Sentry events. It is idempotent, takes linear time on any input and never raises: what it cannot
look into is removed.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from otel_sentry._logging import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILTERED = "[Filtered]"
"""What stands in the place of a removed value; the marker that Sentry's own scrubber uses."""

SENSITIVE_WORDS = frozenset(
    """
    auth authentication authorization bearer cookie cookies cred credential credentials creds csrf
    csrfmiddlewaretoken csrftoken cvc cvv iban idtoken jsessionid jwt otp pass passcode passphrase
    passwd password passwords phpsessid pin privatekey pswd pw pwd secret secrets session sessionid
    sid sig signature ssn token totp xsrf xsrftoken
    """.split()  # noqa: SIM905 - one word a line would be a page
)
"""A key is sensitive when one of its words (``userPassword``, ``x-auth-token``) is one of these."""

SENSITIVE_PHRASES = (
    "access_key",
    "access_token",
    "account_key",
    "api_key",
    "api_token",
    "auth_token",
    "card_number",
    "client_secret",
    "credit_card",
    "encryption_key",
    "password",
    "passwd",
    "private_key",
    "refresh_token",
    "secret",
    "signing_key",
    "social_security",
)
"""... or when it holds one of these, written together or apart (``dbpassword``, ``x-api-key``)."""

HARMLESS_ENDINGS = frozenset({"count", "error", "exception", "length", "limit", "size", "type"})
"""... unless it ends with one of these words (``token_count``, ``auth_type``)."""

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

# Of an event: names of libraries, "pyjwt" among them, and their versions.
_LIBRARY_KEYS = frozenset({"debug_meta", "modules", "sdk"})

_MAX_DEPTH = 64  # deeper than sentry-sdk serialises; bounds the recursion
_MAX_KNOWN_KEYS = 10_000  # bound of the cache of decided keys; beyond it keys are decided anew
_MAX_KEY = 200

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W_\x00-\x7f]+")
_SEGMENTS = re.compile(r"[a-z0-9]+")
_APART = tuple(f"_{phrase}" for phrase in SENSITIVE_PHRASES)
_TOGETHER = tuple(phrase.replace("_", "") for phrase in SENSITIVE_PHRASES)
_NAME = re.compile(r"(?:b')?[\w.-]+'?")

# The secrets that their shape gives away, each with a text that must be there for it to match: a
# plain search is much cheaper than a regular expression. Every quantifier is bounded, or starts
# where no other match of it starts, so that no text takes more than linear time.
_SHAPES = tuple(
    (needle, re.compile(pattern))
    for needle, pattern in (
        # SQLAlchemy's errors; first, because it must not find what another one left.
        ("[parameters: ", r"(?<=\[parameters: )(?!\[Filtered\])[^\n]+?(?=\]?(?:\n|\Z))"),
        (
            "-----BEGIN",
            (
                r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
                r"(?:[^-]|-(?!----END)){0,20000}(?:-----END[A-Z ]{0,60}-----)?"
            ),
        ),
        ("eyJ", r"(?<![\w-])eyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?"),
        (
            "://",
            (
                r"(?<=://)(?:[^\s/?#@:\"'<>]{0,256}:[^\s/?#\"'<>]{1,256}"
                r"|[^\s/?#@:\"'<>]{16,256})(?=@)"
            ),
        ),
        (
            "@",
            (
                r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}"
                r"(?:xn--[\w-]{1,59}|[^\W\d_]{2,63})(?![\w-])"
            ),
        ),
        ("sk", r"\bsk(?:_live_|_test_|-)[\w-]{16,}|\brk_live_\w{16,}"),
        ("gh", r"\bgh[pousr]_\w{20,}"),
        ("github_pat_", r"\bgithub_pat_\w{20,}"),
        ("glpat-", r"\bglpat-[\w-]{16,}"),
        ("sntry", r"\bsntry[su]_[\w+/=]{20,}"),
        ("xox", r"\bxox[abprs]-[\w-]{10,}"),
        ("AIza", r"\bAIza[\w-]{35}"),
        ("AKIA", r"\bAKIA[0-9A-Z]{16}\b"),
    )
)
_SPACE = r"(?:\s|%20|\+){1,4}"
_SCHEME = rf"(?i:bearer|basic|digest|token){_SPACE}"
# In prose these words are followed by words; a credential has a digit, an = or camelCase.
_BEARER = re.compile(
    rf"\b((?i:bearer){_SPACE}(?!(?:tokens?|auth\w*|credentials?|header|realm|scheme)\b)"
    rf"|(?i:basic|digest|token){_SPACE}(?=[A-Za-z.:+/~_-]{{0,80}}(?:[\d=]|[a-z][A-Z])))"
    r"[\w.~+/=:-]{6,}"
)
_CARD = re.compile(
    r"(?<![\w-])(?<!\d\.)(?:[2-6]\d{12,18}"
    r"|[2-6]\d{3}([ +-])\d{4}\1\d{4}\1\d{2,4}(?:\1\d{3})?"
    r"|3\d{3}([ +-])\d{6}\2\d{4,5})(?![\w-]|\.\d)"
)
# What the networks issue: an id of a database is rarely a card number, too.
_NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[0-8]|2[2-7]|6\d|35)\d{14}|(?:5[06-8]|6\d)\d{15,17}"
    r"|3[47]\d{13}|3[0689]\d{12}"
)

# `key=value`, `key: value`, `"key": "value"` inside a text, an URL or a form; `--key value`.
_KEY = re.compile(
    r"(?<![\w.%-])(?:"
    r"([\w.%-]+(?:\[[\w-]{0,40}\]){0,3})\\?[\"']?[\])]?\s{0,4}(=>|[=:!]=+|=|:(?!//|:))\s{0,4}"
    r"|(--?[\w.-]+)\s{1,4}(?![\s-]))"
)
_SECOND_WORDS = frozenset({"Key", "Number", "key", "keys", "number"})  # API key: ...
_QUOTED = (
    r"\\\"(?:[^\"\\]|\\\\(?:\\.)?|\\[^\"\\])*(?:\\\")?"  # JSON inside a JSON string
    r"|[A-Za-z]{0,2}\"(?:[^\"\\]|\\.)*\"?|[A-Za-z]{0,2}'(?:[^'\\]|\\.)*'?"
)
_BARE = r"[^\s&;,\"'}\]<>)]"
# A comma, a quote, a bracket ends a value, unless the value goes on behind it.
_ON = rf"[\"',;)\]}}](?![{{\[(]|[\w.%-]+\\?[\"']?\s{{0,4}}[=:]){_BARE}+"
_VALUE = re.compile(
    rf"\[Filtered\]|{_QUOTED}"
    r"|\[[^\]]{0,4000}\]?|\{[^}]{0,4000}\}?|\([^)]{0,4000}\)?"
    rf"|(?:{_SCHEME})?{_BARE}+(?:{_ON})*",
    re.DOTALL,
)
_WHOLE_LINE = re.compile("authorization|cookie", re.IGNORECASE)
_LINE = re.compile(rf"\[Filtered\]|{_QUOTED}|(?:=\"[^\"\r\n]*\"|[^\r\n\"'])*", re.DOTALL)
# What stands for a value, or says that there is none.
_PLACEHOLDER = re.compile(
    r"(?:\?\d*|%s|%\(\w+\)s|\$\d+|:[a-z_]\w*|(?i:none|null|true|false))"
    rf"(?!{_BARE}|{_ON})"
)

_MAX_REMEMBERED_TEXT = 256
_MAX_REMEMBERED = 8192  # bound of the cache of texts that hold nothing to remove

_SQL_LITERAL = re.compile(
    r"'(?:[^']|'')*'?"
    r"|\$(\w*)\$(?<!\d\$).*?(?:\$\1\$|\Z)"
    r"|(?<==)\s{0,4}\"[^\"]*\"(?!\.)"  # MySQL's and SQLite's strings; nobody compares with a table
    r"|(?<![\w.$:%@?])-?(?:0x[0-9a-f]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?!\w)",
    re.IGNORECASE | re.DOTALL,
)
_SQL_BETWEEN_QUOTES = re.compile(r"'.*'", re.DOTALL)


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
        self._known: dict[str, bool] = {}  # bounded by _MAX_KNOWN_KEYS
        self._clean: set[str] = set()  # bounded by _MAX_REMEMBERED; holds no secret

    def is_sensitive(self, key: str) -> bool:
        """Return whether the value under ``key`` must not leave the process."""
        known = self._known.get(key)
        if known is None:
            known = self._decide(key)
            if len(self._known) < _MAX_KNOWN_KEYS and len(key) <= _MAX_KEY:
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
            or any(phrase in f"_{name}" for phrase in _APART)
            or any(
                phrase in segment
                for segment in _SEGMENTS.findall(key.lower())
                for phrase in _TOGETHER
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
        if scrubbed == text and len(text) <= _MAX_REMEMBERED_TEXT:
            if len(self._clean) >= _MAX_REMEMBERED:
                self._clean.clear()
            self._clean.add(text)
        return scrubbed

    def statement(self, statement: str) -> str:
        """Return SQL without its literals, ``?`` stands for each; any other query as a text."""
        if statement.lstrip()[:1] in {"{", "["}:
            return self.text(statement)
        if "\\'" in statement:
            # An escaped quote in MySQL, an ordinary backslash in PostgreSQL.
            statement = _SQL_BETWEEN_QUOTES.sub("?", statement)
        return _without_shapes(_SQL_LITERAL.sub("?", statement))

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """
        Return a Sentry event (error, message or transaction, already serialised) without secrets.

        What the application set as the user stays, unless ``scrub_user``.
        """
        try:
            scrubbed = {
                key: value
                if key in {"user", "spans", "request"} | _LIBRARY_KEYS
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
        if key in _PROTOCOL_KEYS and isinstance(value, str):
            return value
        if self.is_sensitive(key):
            return FILTERED
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return (
            self._string(key, value) if isinstance(value, str) else self._other(key, value, depth)
        )

    def _string(self, key: str, value: str) -> str:
        if key in _SQL_KEYS:
            return self.statement(value)
        return _without_shapes(value) if key in _SOURCE_KEYS else self.text(value)

    def _other(self, key: str, value: Any, depth: int) -> Any:
        if isinstance(value, int):
            # Compared first: Python does not write numbers of thousands of digits.
            return FILTERED if 0 < value < 10**19 and _is_card(str(value)) else value
        if isinstance(value, dict) and depth < _MAX_DEPTH:
            return self._mapping(value, depth + 1)
        if isinstance(value, (list, tuple)) and depth < _MAX_DEPTH:
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
        return isinstance(item, str) and bool(_NAME.fullmatch(item)) and self.is_sensitive(item)

    def _without_pairs(self, text: str) -> str:
        parts: list[str] = []
        done = 0
        match = _KEY.search(text)
        while match is not None:
            end = match.end()
            key = _key(match)
            if self.is_sensitive(key):
                # These headers have values with spaces, commas and pairs inside.
                header = match[2] == ":" and _WHOLE_LINE.search(key)
                value = _PLACEHOLDER.match(text, end)
                if value is None:
                    value = (_LINE if header else _VALUE).match(text, end)
                    if value is not None and value.end() > end:
                        parts += (text[done:end], FILTERED)
                        done = value.end()
                end = value.end() if value is not None else end
            match = _KEY.search(text, end)
        return "".join((*parts, text[done:])) if parts else text


def _normalise(key: str) -> str:
    """Return ``http_request_header_x_api_key`` for ``http.request.header.X-Api-Key``."""
    return "_".join(_WORDS.findall(key.removeprefix("b'"))).lower()


def _key(match: re.Match[str]) -> str:
    key = match[1] or match[3]
    if key in _SECOND_WORDS:
        before = match.string[max(0, match.start() - 20) : match.start()]
        first = re.search(r"[A-Za-z]+(?= $)", before)
        return f"{first[0]} {key}" if first else key
    return unquote(key) if "%" in key else key


def _without_shapes(text: str) -> str:
    for needle, shape in _SHAPES:
        if needle in text:
            text = shape.sub(FILTERED, text)
    if " " in text or "+" in text or "%20" in text:
        text = _BEARER.sub(rf"\1{FILTERED}", text)
    return _CARD.sub(_without_card, text)


def _without_card(match: re.Match[str]) -> str:
    text = match[0]
    if _is_card(text):
        return FILTERED
    # Its check value may follow in the same way of writing: 4111 1111 1111 1111 123.
    return FILTERED + text[-4:] if not text[-4].isdigit() and _is_card(text[:-4]) else text


def _is_card(text: str) -> bool:
    """Return whether this is a card number: of a network, with a valid check digit (Luhn)."""
    text = re.sub(r"\D", "", text)
    if not _NETWORKS.fullmatch(text):
        return False
    digits = [int(character) for character in text]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]  # noqa: PLR2004
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
