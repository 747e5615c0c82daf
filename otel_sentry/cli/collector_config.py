"""`otel-sentry collector-config`: the scrubbing rules as configuration of a Collector."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING

from otel_sentry.cli._re2 import ESCAPE, translate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from otel_sentry.settings import Settings

_HEADER = """\
# Written by `otel-sentry collector-config`, from the rules that the SDK scrubs with. Do not edit:
# set OTEL_SENTRY_SCRUB_KEYS, OTEL_SENTRY_KEEP_KEYS or SENTRY_SEND_DEFAULT_PII and write it anew.
# A Collector merges it: otelcol --config sidecar.yaml --config scrubbing.yaml
"""

# Where texts stand, by OTTL context.
_TEXTS = {
    "resource": (),
    "scope": (),
    "span": ("span.name", "span.status.message"),
    "spanevent": ("spanevent.name",),
}

# These shapes compare parts with each other, or look far ahead: written for RE2 by hand. Which
# groups stay before and behind the secret is said beside the pattern.
_START = rf"(?:{ESCAPE}|^|\W)"
_DASHED = rf"({ESCAPE}|^|[^\w-])"
_SPACE = r"(?:\s|%20|\+){1,4}"
_CREDENTIAL = r"[\w.~+/=:-]"
_BY_HAND = (
    (rf"({_START}(?i:bearer){_SPACE}){_CREDENTIAL}{{6,}}", "${1}"),
    (
        (
            rf"({_START}(?i:basic|digest|token){_SPACE})"
            rf"(?:{_CREDENTIAL}{{0,80}}[\d=]|[\w.~+/:-]*[a-z][A-Z]){_CREDENTIAL}{{3,}}"
        ),
        "${1}",
    ),
    (
        (
            _DASHED + r"(?:4\d{12}|4\d{15}|4\d{18}|(?:5[0-8]|2[2-7]|6\d|35)\d{14}"
            r"|(?:5[06-8]|6\d)\d{15,17}|3[47]\d{13}|3[0689]\d{12}"
            r"|[2-6]\d{3}(?:[ +-]\d{4}){2}[ +-]\d{2,4}(?:[ +-]\d{3})?"
            r"|3\d{3}[ +-]\d{6}[ +-]\d{4,5})($|[^\w-])"
        ),
        "${1}|${2}",
    ),
    (_DASHED + r"\d{3}-\d{2}-\d{4}($|[^\w-])", "${1}|${2}"),
    (rf"({_START})" + r"[A-Z]{2}\d{2} ?(?:[A-Z0-9]{4} ?){2,7}[A-Z0-9]{0,4}\b", "${1}"),
)
# A value; not what stands for one (?, %s, :name) nor [Filtered]. What follows a comma or a quote
# without a space belongs to it.
_QUOTED = (
    r"\\\"(?:[^\"\\]|\\\\(?:\\.)?|\\[^\"\\])*(?:\\\")?"
    r"|[A-Za-z]{0,2}\"(?:[^\"\\]|\\.)*\"?|[A-Za-z]{0,2}'(?:[^'\\]|\\.)*'?"
)
_BARE = r"[^\s&;,\"'}\]<>)]"
_VALUE = (
    r"(?:(?i:bearer|basic|digest|token)\s{1,4})?"
    rf"(?:{_QUOTED}|\[[^F\]][^\]]*\]?|\{{[^}}]*\}}?|\([^)]*\)?"
    rf"|(?:[^\s&;,\"'}}\]<>)\[{{(?%:]|%[^s(\s]|:[^a-z_\s]){_BARE}*(?:[;,\"']{_BARE}+)*)"
)
_LINE = r"[^\[\r\n\"'](?:[^\r\n\"'=]|=(?:\"[^\"\r\n]*\")?)*"

_SQL = (
    (r"'(?:[^']|'')*'?", "?"),
    (r"\$(?:[A-Za-z_]\w*)?\$(?s:.*?)(?:\$(?:[A-Za-z_]\w*)?\$|\z)", "?"),
    (r"(=)\s{0,4}\"[^\"]*\"", "${1}?"),
    (r"(?i)(^|[^\w.$:%@?])-?(?:0x[0-9a-f]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)\b", "${1}?"),
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "collector-config",
        help="write the scrubbing rules as configuration of an OpenTelemetry Collector",
        description="Write the scrubbing rules, with what the environment adds to them, as"
        " configuration of an OpenTelemetry Collector (processors transform and redaction).",
    )
    parser.set_defaults(func=_run)


def _run(_: argparse.Namespace) -> int:
    from otel_sentry.env_file import with_env_file
    from otel_sentry.settings import Settings

    sys.stdout.write(render(Settings.from_env(with_env_file(os.environ))))
    return 0


def render(settings: Settings) -> str:
    """Return the processors ``transform/scrub`` and ``redaction/scrub`` as YAML."""
    from otel_sentry.scrubbing import FILTERED

    blocked = "".join(f"      - {_quote(pattern)}\n" for pattern in _sensitive_keys(settings))
    ignored = "".join(f"      - {_quote(pattern)}\n" for pattern in _kept_keys(settings))
    return (
        f"{_HEADER}"
        "processors:\n"
        "  # Secrets inside texts: values, names, messages.\n"
        "  transform/scrub:\n"
        "    error_mode: ignore\n"
        f"    trace_statements:\n{''.join(map(_statements, _TEXTS))}"
        "  # Values of any type under keys that name a secret.\n"
        "  redaction/scrub:\n"
        "    allow_all_keys: true\n"
        "    redact_all_types: true\n"
        "    summary: silent\n"
        f"    allowed_values:\n      - {_quote(f'^{re.escape(FILTERED)}$')}\n"
        f"    ignored_key_patterns:\n{ignored}"
        f"    blocked_key_patterns:\n{blocked}"
    )


def _statements(context: str) -> str:
    """Return the OTTL statements of a context: SQL first, as the SDK does."""
    attributes, flag = f"{context}.attributes", f'{context}.cache["suspect"]'
    everything = ", ".join((f"String(Values({attributes}))", *_TEXTS[context]))
    text, where = f'{context}.cache["text"]', f" where {flag} == true"
    statements = list(_sql_statements()) if context == "span" else []
    # A look at all texts together for plain words is much cheaper than any regular expression.
    suspicious = " or ".join(f"IsMatch({text}, {json.dumps(clue)})" for clue in _clues())
    nested = json.dumps(r"[\[,][\[{]")
    statements += [
        f'set({text}, ConvertCase(Concat([{everything}], "\\n"), "lower"))',
        f"set({flag}, true) where {suspicious}",
        # What follows replaces in texts only: beside a list all values become texts.
        f"stringify_all({attributes}){where} and IsMatch({text}, {nested})",
    ]
    for pattern, replacement in _patterns():
        every = _replace("replace_all_patterns", f'{attributes}, "value"', pattern, replacement)
        one = [_replace("replace_pattern", t, pattern, replacement) for t in _TEXTS[context]]
        statements += [statement + where for statement in (every, *one)]
    lines = "".join(f"          - {_quote(statement)}\n" for statement in statements)
    return f"      - context: {context}\n        statements:\n{lines}"


def _clues() -> Iterator[str]:
    """Yield quick patterns, one of which every text matches that one of the patterns matches."""
    from otel_sentry.scrubbing import SENSITIVE_PHRASES, SENSITIVE_WORDS
    from otel_sentry.scrubbing._shapes import SHAPES

    ends = {phrase.rpartition("_")[2] for phrase in SENSITIVE_PHRASES}
    words = {*SENSITIVE_WORDS, *ends, "basic", "digest"}
    yield from sorted(w for w in words if not any(o in w for o in words if o != w))
    yield from sorted({re.escape(needle.lower()) for _, needle, _ in SHAPES} - {"://", "@"})
    yield from (r"@[^\s@]*\.[^\d\s]", r"://[^/\s\"]*@", r"\d{4}[ +-]?\d{4}", r"\d-\d\d-\d")
    yield r"\b[a-z]{2}\d{2} ?\w{4}"  # an IBAN


def _sql_statements() -> Iterator[str]:
    from otel_sentry.scrubbing._rules import SQL_KEYS

    for key in sorted(SQL_KEYS):
        target = f'span.attributes["{key}"]'
        where = f' where {target} != nil and not IsMatch({target}, "^\\\\s*[{{\\\\[]")'
        for pattern, replacement in _SQL:
            yield _replace("replace_pattern", target, pattern, replacement) + where


def _replace(function: str, target: str, pattern: str, replacement: str) -> str:
    return f"{function}({target}, {json.dumps(pattern)}, {json.dumps(replacement)})"


def _patterns() -> Iterator[tuple[str, str]]:
    """Yield the patterns of secrets, and what their matches become."""
    from otel_sentry.scrubbing import FILTERED
    from otel_sentry.scrubbing._shapes import SHAPES

    yield rf"((?i:authorization|cookie)\s{{0,4}}:\s{{0,4}}){_LINE}", f"${{1}}{FILTERED}"
    yield _pairs(), f"${{1}}{FILTERED}"
    yield rf"(--?{_sensitive_names()}\s{{1,4}})[^\s\[-]\S*", f"${{1}}{FILTERED}"
    for _, needle, shape in SHAPES:
        pattern = shape[0].pattern
        if needle not in pattern.replace("\\", ""):
            # The SDK tries the shape only on a text with the needle.
            pattern = rf"(?<={re.escape(needle)}(?s:.*?))(?:{pattern})"
        translated = translate(pattern, FILTERED)
        yield translated.pattern, translated.replacement
    for pattern, around in _BY_HAND:
        before, _, behind = around.partition("|")
        yield pattern, f"{before}{FILTERED}{behind}"


def _sensitive_names() -> str:
    """Return the pattern of a sensitive key inside a text."""
    from otel_sentry.scrubbing import SENSITIVE_WORDS
    from otel_sentry.scrubbing._rules import SENSITIVE_ENDINGS

    words = sorted(SENSITIVE_WORDS)
    return (
        rf"(?:(?:(?i:^|[^a-z]|{ESCAPE})(?i:{'|'.join(words)})"
        rf"|[a-z0-9](?:{_capitalised(words)}|{'|'.join(SENSITIVE_ENDINGS)}))"
        rf"(?:[A-Z0-9._%-][\w.%-]*)?|{_phrases()}[\w.%-]*)"
    )


def _pairs() -> str:
    """Return the pattern of ``key=value``, ``"key": "value"`` and the like inside a text."""
    return (
        rf"({_sensitive_names()}"
        r"(?:\[[\w-]{0,40}\])?\\?[\"']?[\])]?\s{0,40}(?:=>|[=!]?=|:)\s{0,40})" + _VALUE
    )


def _sensitive_keys(settings: Settings) -> Iterator[str]:
    from otel_sentry.scrubbing import PERSONAL_KEYS

    yield _words()
    yield _phrases()
    if own := _with_words(settings.scrub_keys):
        yield _any_of(own)
    if not settings.send_default_pii:
        yield f"{_any_of(PERSONAL_KEYS)}$"


def _kept_keys(settings: Settings) -> Iterator[str]:
    """Return the keys that are none although a word of them is: ``token_count``; and the user's."""
    from otel_sentry.scrubbing import HARMLESS_ENDINGS

    yield rf"(?i)[^a-z]({'|'.join(sorted(HARMLESS_ENDINGS))})$"
    if kept := _with_words(settings.keep_keys):
        yield f"^{_any_of(kept)}$"


def _words() -> str:
    """Return the pattern of a key of which one word is sensitive: ``x-auth-token``, ``userPin``."""
    from otel_sentry.scrubbing import SENSITIVE_WORDS
    from otel_sentry.scrubbing._rules import SENSITIVE_ENDINGS

    words = sorted(SENSITIVE_WORDS)
    return (
        rf"(?:(?i:(?:(?:^|[^a-z])(?:{'|'.join(words)})|{'|'.join(SENSITIVE_ENDINGS)})(?:$|[^a-z]))"
        rf"|[a-z0-9](?:{_capitalised(words)})(?:$|[^a-z])"
        rf"|(?:^|[^A-Za-z])(?:{'|'.join(words)})[A-Z])"
    )


def _capitalised(words: Iterable[str]) -> str:
    return "|".join(word.capitalize() for word in words)


def _phrases() -> str:
    from otel_sentry.scrubbing import SENSITIVE_PHRASES

    return _any_of(SENSITIVE_PHRASES)


def _any_of(keys: Iterable[str]) -> str:
    """Return a pattern of the keys, their words together or apart."""
    from otel_sentry.scrubbing._keys import normalise

    # In the words that the SDK compares: other letters than ASCII's are some, too.
    apart = ("[^A-Za-z0-9]{0,3}".join(map(re.escape, normalise(k).split("_"))) for k in keys)
    return f"(?i:{'|'.join(apart)})"


def _with_words(keys: Iterable[str]) -> list[str]:
    """Return the keys of which something is left to compare: an empty pattern matches any key."""
    from otel_sentry.scrubbing._keys import normalise

    return [key for key in keys if normalise(key)]


def _quote(text: str) -> str:
    """Return a scalar of YAML; a Collector takes ``$$`` for ``$``."""
    return "'" + text.replace("$", "$$").replace("'", "''") + "'"
