"""What is removed: the rules, as tables of keys and of shapes."""

from __future__ import annotations

import re

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

SQL_KEYS = frozenset({"db.statement", "db.query.text"})

# Sentry's protocol: set by the configuration or made by us, and told apart by their exact text.
PROTOCOL_KEYS = frozenset(
    {"dist", "environment", "event_id", "parent_span_id", "release", "span_id", "trace_id"}
)

# Source code, not data: `token = read_token()` must stay readable.
SOURCE_KEYS = frozenset(
    {"abs_path", "context_line", "filename", "function", "module", "post_context", "pre_context"}
)

# Of an event: names of libraries, "pyjwt" among them, and their versions.
LIBRARY_KEYS = frozenset({"debug_meta", "modules", "sdk"})

MAX_DEPTH = 64  # deeper than sentry-sdk serialises; bounds the recursion
MAX_KNOWN_KEYS = 10_000  # bound of the cache of decided keys; beyond it keys are decided anew
MAX_KEY = 200

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W_\x00-\x7f]+")
SEGMENTS = re.compile(r"[a-z0-9]+")
APART = tuple(f"_{phrase}" for phrase in SENSITIVE_PHRASES)
TOGETHER = tuple(phrase.replace("_", "") for phrase in SENSITIVE_PHRASES)
NAME = re.compile(r"(?:b')?[\w.-]+'?")

# The secrets that their shape gives away, each with a text that must be there for it to match: a
# plain search is much cheaper than a regular expression. Every quantifier is bounded, or starts
# where no other match of it starts, so that no text takes more than linear time.
SHAPES = tuple(
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
SPACE = r"(?:\s|%20|\+){1,4}"
SCHEME = rf"(?i:bearer|basic|digest|token){SPACE}"
# In prose these words are followed by words; a credential has a digit, an = or camelCase.
BEARER = re.compile(
    rf"\b((?i:bearer){SPACE}(?!(?:tokens?|auth\w*|credentials?|header|realm|scheme)\b)"
    rf"|(?i:basic|digest|token){SPACE}(?=[A-Za-z.:+/~_-]{{0,80}}(?:[\d=]|[a-z][A-Z])))"
    r"[\w.~+/=:-]{6,}"
)
CARD = re.compile(
    r"(?<![\w-])(?<!\d\.)(?:[2-6]\d{12,18}"
    r"|[2-6]\d{3}([ +-])\d{4}\1\d{4}\1\d{2,4}(?:\1\d{3})?"
    r"|3\d{3}([ +-])\d{6}\2\d{4,5})(?![\w-]|\.\d)"
)
# What the networks issue: an id of a database is rarely a card number, too.
NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[0-8]|2[2-7]|6\d|35)\d{14}|(?:5[06-8]|6\d)\d{15,17}"
    r"|3[47]\d{13}|3[0689]\d{12}"
)

# `key=value`, `key: value`, `"key": "value"` inside a text, an URL or a form; `--key value`.
KEY = re.compile(
    r"(?<![\w.%-])(?:"
    r"([\w.%-]+(?:\[[\w-]{0,40}\]){0,3})\\?[\"']?[\])]?\s{0,4}(=>|[=:!]=+|=|:(?!//|:))\s{0,4}"
    r"|(--?[\w.-]+)\s{1,4}(?![\s-]))"
)
SECOND_WORDS = frozenset({"Key", "Number", "key", "keys", "number"})  # API key: ...
QUOTED = (
    r"\\\"(?:[^\"\\]|\\\\(?:\\.)?|\\[^\"\\])*(?:\\\")?"  # JSON inside a JSON string
    r"|[A-Za-z]{0,2}\"(?:[^\"\\]|\\.)*\"?|[A-Za-z]{0,2}'(?:[^'\\]|\\.)*'?"
)
BARE = r"[^\s&;,\"'}\]<>)]"
# A comma, a quote, a bracket ends a value, unless the value goes on behind it.
ON = rf"[\"',;)\]}}](?![{{\[(]|[\w.%-]+\\?[\"']?\s{{0,4}}[=:]){BARE}+"
VALUE = re.compile(
    rf"\[Filtered\]|{QUOTED}"
    r"|\[[^\]]{0,4000}\]?|\{[^}]{0,4000}\}?|\([^)]{0,4000}\)?"
    rf"|(?:{SCHEME})?{BARE}+(?:{ON})*",
    re.DOTALL,
)
WHOLE_LINE = re.compile("authorization|cookie", re.IGNORECASE)
LINE = re.compile(rf"\[Filtered\]|{QUOTED}|(?:=\"[^\"\r\n]*\"|[^\r\n\"'])*", re.DOTALL)
# What stands for a value, or says that there is none.
PLACEHOLDER = re.compile(
    r"(?:\?\d*|%s|%\(\w+\)s|\$\d+|:[a-z_]\w*|(?i:none|null|true|false))"
    rf"(?!{BARE}|{ON})"
)

MAX_REMEMBERED_TEXT = 256
MAX_REMEMBERED = 8192  # bound of the cache of texts that hold nothing to remove

SQL_LITERAL = re.compile(
    r"'(?:[^']|'')*'?"
    r"|\$(\w*)\$(?<!\d\$).*?(?:\$\1\$|\Z)"
    r"|(?<==)\s{0,4}\"[^\"]*\"(?!\.)"  # MySQL's and SQLite's strings; nobody compares with a table
    r"|(?<![\w.$:%@?])-?(?:0x[0-9a-f]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?!\w)",
    re.IGNORECASE | re.DOTALL,
)
SQL_BETWEEN_QUOTES = re.compile(r"'.*'", re.DOTALL)
