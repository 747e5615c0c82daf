"""Take secrets out of free texts and statements."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from otel_sentry.scrubbing import _shapes as shapes
from otel_sentry.scrubbing._marks import FILTERED, Removed
from otel_sentry.scrubbing._rules import DOCUMENT_STORES, QUOTING_SYSTEMS
from otel_sentry.scrubbing._sql import without_literals, without_quoted_literals

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_sentry.scrubbing._keys import Keys

_OPENING = frozenset("[{(")
_MAX_INDENT = 100  # columns before a key of YAML
# One of them is in each text that has a pair of another notation.
_OTHER_SIGNS = ("<", "%", "alue", 'name="', '":', "':")
# How the value of a header is written, by the separator; else as shapes.HEADER.
_HEADERS = {None: shapes.VALUE, ":": shapes.LINE}


class Texts:
    """
    The rules of texts, and which texts they left alone.

    Args:
        keys: Decides what is removed from ``key=value``.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        # What holds nothing to remove, each set bounded by MAX_REMEMBERED. The same lines of source
        # code come with each error of a kind.
        self.clean: set[str] = set()
        self.clean_sources: set[str] = set()
        self.clean_statements: set[str] = set()

    def text(self, text: str) -> str:
        """Return a free text (a message, an URL, a query string, a body) without secrets."""
        if text in self.clean:
            return text
        if len(text) > shapes.MAX_TEXT:
            return _cut(text, self.text)
        rules: list[str] = list(text.rules) if isinstance(text, Removed) else []
        plain = shapes.COLOUR.sub("", text) if "\x1b" in text or "1b[" in text else text
        scrubbed = self._without_secrets(plain, rules)
        return self._marked(text, text if scrubbed == plain else scrubbed, rules, self.clean)

    def _without_secrets(self, text: str, rules: list[str]) -> str:
        scrubbed = without_quoted_literals(text)
        if scrubbed != text:
            rules.append("sql_literal")
        if "=" in scrubbed or ":" in scrubbed or " -" in scrubbed or scrubbed[:1] == "-":
            scrubbed = self._without_pairs(scrubbed, rules)
        if "," in scrubbed or any(map(scrubbed.__contains__, _OTHER_SIGNS)):
            scrubbed = self._without_other_pairs(scrubbed, rules)
        return without_shapes(scrubbed, rules)

    def source(self, text: str) -> str:
        """Return a line of source code without secrets: ``token = read()`` holds none."""
        if text in self.clean_sources:
            return text
        rules: list[str] = []
        return self._marked(text, without_shapes(text, rules), rules, self.clean_sources)

    def statement(self, statement: str, system: str = "") -> str:
        """
        Return SQL without its literals, ``?`` stands for each; any other query as a text.

        Args:
            statement: The query.
            system: The value of ``db.system.name``: in some, ``"..."`` is a text.
        """
        if system in DOCUMENT_STORES:
            return self.text(statement)
        is_ambiguous = '"' in statement and system in QUOTING_SYSTEMS
        if statement in self.clean_statements and not is_ambiguous:
            return statement
        if statement.lstrip()[:1] in {"{", "["}:
            return self.text(statement)
        if len(statement) > shapes.MAX_TEXT:
            return _cut(statement, lambda text: self.statement(text, system))
        rules: list[str] = []
        scrubbed = without_literals(statement, system)
        if scrubbed != statement:
            rules.append("sql_literal")
        clean = set() if is_ambiguous else self.clean_statements
        return self._marked(statement, without_shapes(scrubbed, rules), rules, clean)

    def command(self, command: str) -> str:
        """Return commands of a key-value store, one a line, with ``?`` for each argument."""
        first, *others = command.split("\n")
        # What stands behind a line break may be the next command or the rest of an argument.
        lines = (_without_arguments(line, shapes.COMMAND.match(line)) for line in others)
        scrubbed = "\n".join((_without_arguments(first, True), *lines))
        return command if scrubbed == command else Removed(scrubbed, "arguments")

    def cache_keys(self, keys: str) -> str:
        """Return keys of a cache, with ``?`` for each id in them and for what a secret names."""
        rules: list[str] = []
        scrubbed = without_shapes(keys, rules)
        secret = False
        parts = shapes.KEY_PARTS.split(scrubbed)
        for position, part in enumerate(parts):
            if position % 2 or part in {"", "?", FILTERED}:
                secret = secret and part not in {", ", " "}
            elif secret or shapes.ID.match(part):
                parts[position] = "?"
            else:
                secret = bool(self._keys.rule_of(part))
        scrubbed = "".join(parts)
        return keys if scrubbed == keys else Removed(scrubbed, *rules or ["arguments"])

    def commands_or_keys(self, text: str) -> str:
        """Return what a span of a key-value store shows: its commands, else the keys."""
        name, space, _ = text.partition(" ")
        if not space or name.endswith(","):
            return self.cache_keys(text)
        scrubbed = self.command(text)
        # JSON.SET and get_many are commands, user:7 is none: it may be a key with a space in it.
        return scrubbed if name.isalpha() else self.cache_keys(scrubbed)

    def _marked(self, text: str, scrubbed: str, rules: list[str], clean: set[str]) -> str:
        if scrubbed != text:
            return Removed(scrubbed, *dict.fromkeys(rules))
        if len(text) <= shapes.MAX_REMEMBERED_TEXT and type(text) is str:
            if len(clean) >= shapes.MAX_REMEMBERED:
                clean.clear()
            clean.add(text)
        return text

    def _without_pairs(self, text: str, rules: list[str]) -> str:
        parts: list[str] = []
        done = looked = 0  # up to where the text was removed or copied; searched for cookies
        match = shapes.KEY.search(text)
        while match is not None:
            end = match.end()
            key = _key(match)
            rule = self._keys.rule_of(key) or self._rule_behind_escape(match, key)
            if rule:
                # These headers have values with spaces, commas and pairs inside.
                is_header = shapes.WHOLE_LINE.search(key) is not None
                value = _HEADERS.get(match[2], shapes.HEADER) if is_header else shapes.VALUE
                end, is_secret = _end_of_value(text, end, value)
                if is_secret:
                    end = max(end, _end_of_block(match))
                    if is_header and match.end() >= looked:
                        cookies = shapes.COOKIES.match(text, match.end())
                        looked = cookies.end() if cookies else end
                        end = max(end, looked) if cookies and cookies[1] else end
                    parts += (text[done : match.end()], FILTERED)
                    done = end
                    rules.append(rule)
            match = shapes.KEY.search(text, end)
        return "".join((*parts, text[done:])) if parts else text

    def _rule_behind_escape(self, match: re.Match[str], key: str) -> str:
        """Return the rule of a key that begins behind an escape: a printed line break."""
        start = match.start()
        if start and match.string[start - 1] == "\\":
            escape = shapes.ESCAPED_START.match(key)
            if escape:
                return self._keys.rule_of(key[escape.end() :])
        return ""

    def _without_other_pairs(self, text: str, rules: list[str]) -> str:
        """Take values out of XML, multipart forms, encoded query strings and named values."""
        parts: list[str] = []
        done = 0
        match = shapes.OTHER_KEY.search(text)
        while match is not None:
            end = match.end()
            rule = "input" if match["input"] else self._keys.rule_of(match[match.lastindex or 0])
            if rule:
                stop = _end_of_other(text, match)
                if text[end:stop] not in {"", FILTERED}:
                    parts += (text[done:end], FILTERED)
                    rules.append(rule)
                    done = stop
                end = stop
            elif match["tag"]:
                end = match.end("tag")  # its attributes may name a secret
            match = shapes.OTHER_KEY.search(text, end)
        return "".join((*parts, text[done:])) if parts else text


def without_shapes(text: str, rules: list[str]) -> str:
    """Return ``text`` without what its shape gives away; append the rules that found something."""
    # Whether there are escapes, which stand before a word like letters of it.
    way = "\\" in text or ("%" in text and shapes.ENCODED.search(text) is not None)
    for rule, needle, shape in shapes.SHAPES:
        if needle in text:
            text, count = shape[way].subn(FILTERED, text)
            if count:
                rules.append(rule)
    before = text
    if " " in text or "+" in text or "%20" in text:
        text = shapes.BEARER[way].sub(rf"\1{FILTERED}", text)
        if text != before:
            rules.append("bearer")
    for rule, needle, shape, replace in _NUMBERS:
        if needle in text:
            scrubbed = shape[way].sub(replace, text)
            if scrubbed != text:
                rules.append(rule)
                text = scrubbed
    return text


def is_card(text: str) -> bool:
    """Return whether this is a card number: of a network, with a valid check digit (Luhn)."""
    text = re.sub(r"\D", "", text)
    if not shapes.NETWORKS.fullmatch(text):
        return False
    digits = [int(character) for character in text]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]  # noqa: PLR2004
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _without_card(match: re.Match[str]) -> str:
    text = match[0]
    if is_card(text):
        return FILTERED
    # Its check value may follow in the same way of writing: 4111 1111 1111 1111 123.
    return FILTERED + text[-4:] if not text[-4].isdigit() and is_card(text[:-4]) else text


def _without_iban(match: re.Match[str]) -> str:
    text = match[0].replace(" ", "")
    # ISO 7064: the check digits make the whole, read as a number, 1 modulo 97.
    number = "".join(str(int(character, 36)) for character in text[4:] + text[:4])
    return FILTERED if int(number) % 97 == 1 else match[0]


# Everything has the empty needle.
_NUMBERS = (
    ("card_number", "", shapes.CARD, _without_card),
    ("social_security", "-", shapes.SOCIAL_SECURITY, FILTERED),
    ("iban", "", shapes.IBAN, _without_iban),
)


def _without_arguments(line: str, is_command: object) -> str:
    name, space, arguments = line.partition(" ")
    name = name if is_command or not name else "?"
    return name + space + " ".join("?" for _ in arguments.split(" ")) if space else name


def _end_of_other(text: str, match: re.Match[str]) -> int:
    """Return where the value behind a match of :data:`OTHER_KEY` ends."""
    end = match.end()
    tag, field, query, content, json = match.group("tag", "field", "query", "content", "json")
    if tag or content:
        stop = text.find(f"</{tag}" if tag else "<", end)
        return len(text) if stop < 0 else stop
    if field or query:
        found = (shapes.FIELD_END if field else shapes.QUERY_END).search(text, end)
        return found.start() if found else len(text)
    if json:
        value = shapes.JSON_VALUE.match(text, end)
        return value.end() if value else end
    return _end_of_value(text, end, shapes.VALUE)[0]


def _end_of_value(text: str, start: int, value: re.Pattern[str]) -> tuple[int, bool]:
    """Return where the value that begins at ``start`` ends, and whether it may be a secret."""
    placeholder = shapes.PLACEHOLDER.match(text, start)
    if placeholder is not None:
        return placeholder.end(), False
    if not text.startswith(FILTERED, start):
        call = shapes.CALL.match(text, start)
        opening = call.end() if call is not None else start
        if text[opening : opening + 1] in _OPENING:
            rest = shapes.REST.match(text, _end_of_brackets(text, opening))
            return rest.end() if rest else len(text), True
    found = value.match(text, start)
    end = start if found is None else found.end()
    return end, end > start


def _end_of_block(match: re.Match[str]) -> int:
    """
    Return where the block of YAML under a key ends; 0: there is none.

    To it belong all lines that are further in than the key, and items of a list that are as far.
    """
    text = match.string
    first = text.find("\n", match.end(2), match.end()) if match[2] == ":" else -1
    before = text[max(0, match.start() - _MAX_INDENT) : match.start()].rpartition("\n")[2]
    if first < 0 or before.strip(" -"):
        return 0
    end, start = 0, first + 1
    while start < len(text):
        found = text.find("\n", start)
        stop = found if found >= 0 else len(text)
        line = text[start:stop]
        content = line.lstrip(" ")
        indent = len(line) - len(content)
        if content.strip():
            if indent < len(before) or (indent == len(before) and content[:2] != "- "):
                break
            end = stop
        start = stop + 1
    return end


def _end_of_brackets(text: str, start: int) -> int:
    """Return where the list or mapping that begins at ``start`` is closed; else the text's end."""
    depth = 0
    for token in shapes.BRACKETS.finditer(text, start):
        if token[0] in _OPENING:
            depth += 1
        elif token[0] in {"]", "}", ")"}:
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)


def _key(match: re.Match[str]) -> str:
    key = match[1] or match[3]
    if key in shapes.SECOND_WORDS:
        before = match.string[max(0, match.start() - 20) : match.start()]
        first = re.search(r"[A-Za-z]+(?= $)", before)
        return f"{first[0]} {key}" if first else key
    return unquote(key) if "%" in key else key


def _cut(text: str, scrub: Callable[[str], str]) -> str:
    """Scrub the beginning of a long text; the limit may cut a secret in two, so its end goes."""
    scrubbed = scrub(str(text)[: shapes.MAX_TEXT])
    rules = scrubbed.rules if isinstance(scrubbed, Removed) else ()
    kept = str(scrubbed)[: -shapes.CUT_SECRET]
    return Removed(f"{kept}\N{HORIZONTAL ELLIPSIS}", *rules, "length")
