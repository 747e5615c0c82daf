"""What is removed: the shapes of secrets in texts, as regular expressions."""

from __future__ import annotations

import re

NAME = re.compile(r"(?:b')?[\w.-]+'?")

# Where a word begins, and where one with a dash in it does.
_WORD = r"(?<!\w)"
_DASHED = r"(?<![\w-])"
# Where a text was printed or encoded, letters stand there: those that end an escape, \n or %20.
ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_NOT_INSIDE = r"(?!(?<=%)[0-9A-Fa-f]{2})"
_BEHIND = r"(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})"


def _both(pattern: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the expression for plain texts, and the slower one for those with escapes."""
    escaped = pattern
    for start in (_WORD, _DASHED):
        escaped = escaped.replace(start, f"(?:{start}{_NOT_INSIDE}|{_BEHIND})")
    return re.compile(pattern), re.compile(escaped)


# The secrets that their shape gives away, each with a text that must be there for it to match: a
# plain search is much cheaper than a regular expression. Every quantifier is bounded, or starts
# where no other match of it starts, so that no text takes more than linear time.
SHAPES = tuple(
    (rule, needle, _both(pattern))
    for rule, needle, pattern in (
        # First, because it must not find what another one left: SQLAlchemy's errors.
        (
            "parameters",
            "[parameters: ",
            r"(?<=\[parameters: )(?!\[Filtered\])[^\n]+?(?=\]?(?:\n|\Z))",
        ),
        # PostgreSQL's and MySQL's: the values of the row that broke a constraint.
        (
            "parameters",
            "Key (",
            (
                r"(?<=\)=\()(?!\[Filtered\])(?:(?!\)=\()[\s\S]){1,2000}?"
                r"(?=\) (?:already exists|is not present|is still referenced|conflicts with))"
                r"|(?<=\)=\()(?!\[Filtered\])[^)]{1,2000}(?=\))"
            ),
        ),
        (
            "parameters",
            "Failing row",
            (
                r"(?<=Failing row contains \()(?!\[Filtered\])"
                r"(?:(?:(?!Failing row)[\s\S]){0,4000}?\)\.[^\n]*|[^\n]+)"
            ),
        ),
        (
            "parameters",
            "Duplicate entry",
            (
                r"(?<=Duplicate entry ')(?!\[Filtered\])"
                r"(?:(?!Duplicate entry ')[\s\S]){1,2000}?(?=' for key)"
                r"|(?<=Duplicate entry ')(?!\[Filtered\])[^\n]+?(?=' for |\n|\Z)"
            ),
        ),
        (
            "parameters",
            "ncorrect ",
            r"(?<= value: ')(?!\[Filtered\])[^\n]+?(?=' for column|'?(?:\n|\Z))",
        ),
        (
            "parameters",
            "invalid input",
            r"(?<=: )\"(?!\[Filtered\])[^\"\n]+\"?|(?<=\$\d: )(?!\[Filtered\])[^\n]+",
        ),
        # Redis': the command of a pipeline that failed, of which it says 100 characters.
        (
            "parameters",
            ") of pipeline caused error",
            r"(?<= \()(?!\[Filtered\])[\s\S]{1,150}?(?=\) of pipeline caused error)",
        ),
        # A printed ASGI scope: the address of who asks.
        ("personal_key", "'client': ", r"(?<='client': )[(\[][^)\]]{1,200}[)\]]"),
        # Pydantic's: what was given for the field.
        (
            "input",
            "input_value=",
            r"(?<=input_value=)(?!\[Filtered\])[^\n]+?(?=, input_type=|\n|\Z)",
        ),
        (
            "private_key",
            "-----BEGIN",
            (
                r"-----BEGIN[A-Z0-9 +%]{1,60}PRIVATE(?: |\+|%20)KEY(?:(?: |\+|%20)BLOCK)?-----"
                r"[^-]*(?:-(?!----END)[^-]*)*(?:-----END[A-Z0-9 +%]{1,60}-----)?"
            ),
        ),
        (
            "jwt",
            "eyJ",
            # ... also encrypted, in five parts of which the second may be empty.
            _DASHED + r"eyJ[\w-]{6,}\.(?:[\w-]{6,}(?:\.[\w-]+){0,3}|(?:\.[\w-]+){3})",
        ),
        (
            "url_credentials",
            "//",
            (
                r"(?<=//)(?:[^\s/?#@:\"'<>]{0,256}:[^\s/?#\"'<>]{1,1024}"
                # A password with a slash in it; host:port/path is none.
                r"|[^\s/?#@:\"'<>\[]{0,256}:\d*[^\s\d/?#@:\"'<>](?:(?!//)[^\s@\"'<>]){0,1024}"
                r"|[^\s/?#@:\"'<>]{16,256})(?=@)"
            ),
        ),
        (
            "url_credentials",
            "%40",
            (
                r"(?<=%2[Ff]%2[Ff])[^%\s/:@\"'<>&]{0,256}%3[Aa](?:[^%\s/@\"'<>&]"
                r"|%(?:2[0-9A-Ea-e]|[3567][0-9A-Fa-f]|4[1-9A-Fa-f])){1,1024}(?=%40)"
            ),
        ),
        # Oracle's: user/password@//host/service.
        ("url_credentials", "@//", r"(?<=/)(?!\[Filtered\])[^\s/@\"'<>]{1,128}(?=@//)"),
        ("url_credentials", " -u ", r"(?<= -u )['\"]?[^\s:'\"]{1,100}:[^\s'\"]+"),
        ("url_credentials", " --user ", r"(?<= --user )['\"]?[^\s:'\"]{1,100}:[^\s'\"]+"),
        (
            "email",
            "@",
            (
                # One behind the other, with a full stop in between, are several.
                r"(?<![\w.+-])(?:[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}"
                r"(?:xn--[\w-]{1,59}|[^\W\d_]{2,63})(?![\w-]))+"
            ),
        ),
        (
            "email",
            "%40",
            r"(?:[\w.+-]|%2[Bb]){1,64}%40(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}(?![\w-])",
        ),
        ("vendor_key", "sk", _WORD + r"sk(?:_live_|_test_|-)[\w-]{16,}"),
        ("vendor_key", "rk_live_", _WORD + r"rk_live_\w{16,}"),
        ("vendor_key", "gh", _WORD + r"gh[pousr]_\w{20,}"),
        ("vendor_key", "github_pat_", _WORD + r"github_pat_\w{20,}"),
        ("vendor_key", "glpat-", _WORD + r"glpat-[\w-]{16,}"),
        ("vendor_key", "sntry", _WORD + r"sntry[su]_[\w+/=]{20,}"),
        ("vendor_key", "xox", _WORD + r"xox[abprs]-[\w-]{10,}"),
        ("vendor_key", "AIza", _WORD + r"AIza[\w-]{35}"),
        ("vendor_key", "AKIA", _WORD + r"AKIA[0-9A-Z]{16}\b"),
    )
)
SPACE = r"(?:\s|%20|\+){1,4}"
SCHEME = rf"(?i:bearer|basic|digest|token){SPACE}"
# In prose these words are followed by words; a credential has a digit, an = or camelCase.
BEARER = _both(
    rf"{_WORD}((?i:bearer){SPACE}(?!(?:tokens?|auth\w*|credentials?|header|realm|scheme)\b)"
    rf"|(?i:basic|digest|token){SPACE}(?=[A-Za-z.:+/~_-]{{0,80}}(?:[\d=]|[a-z][A-Z])))"
    r"[\w.~+/=:-]{6,}"
)
CARD = _both(
    _DASHED + r"(?<!\d\.)(?:[2-6]\d{12,18}"
    r"|[2-6]\d{3}([ +-])\d{4}\1\d{4}\1\d{2,4}(?:\1\d{3})?"
    r"|3\d{3}([ +-])\d{6}\2\d{4,5})(?![\w-]|\.\d)"
)
SOCIAL_SECURITY = _both(_DASHED + r"\d{3}-\d{2}-\d{4}(?![\w-])")
IBAN = _both(_WORD + r"[A-Z]{2}\d{2} ?(?:[A-Z0-9]{4} ?){2,7}[A-Z0-9]{0,4}\b")
# What the networks issue: an id of a database is rarely a card number, too.
NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[0-8]|2[2-7]|6\d|35)\d{14}|(?:5[06-8]|6\d)\d{15,17}"
    r"|3[47]\d{13}|3[0689]\d{12}"
)

_HTML_QUOTE = r"&(?:quot|#3[49]);"
# `key=value`, `key: value`, `"key": "value"` inside a text, an URL or a form; `--key value`.
KEY = re.compile(
    r"(?<![\w.%-])(?:"
    rf"([\w.%-]+(?:\[[\w-]{{0,40}}\]){{0,3}})\\{{0,7}}(?:[\"']|{_HTML_QUOTE})?[\])]?\s{{0,40}}"
    r"(=>|[=:!]=+|=|:(?!//|:))\s{0,40}(?:(?:str|bytes)(?: \| None)? ?=(?!=) ?)?"
    r"|(--?[\w.-]+)\s{1,4}(?![\s-]))"
)
# A line break as it is printed, or another escape, whose letters look like the key's first ones.
ESCAPED_START = re.compile(r"[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}")
SECOND_WORDS = frozenset({"Key", "Number", "key", "keys", "number"})  # API key: ...
QUOTED = (
    r"\\\"(?:[^\"\\]|\\\\(?:\\.)?|\\[^\"\\])*(?:\\\")?"  # JSON inside a JSON string
    r"|\\{2,7}\"[^\"]*\"?"  # ... inside a JSON string
    rf"|{_HTML_QUOTE}(?:[^&]|(?!{_HTML_QUOTE})&)*(?:{_HTML_QUOTE})?"
    r"|[A-Za-z]{0,2}\"\"\".*?(?:\"\"\"|\Z)|[A-Za-z]{0,2}'''.*?(?:'''|\\Z)"  # GraphQL's, Python's
    # A quote inside is doubled in SQL, or left and entered again in a shell.
    r"|[A-Za-z]{0,2}\"(?:[^\"\\]|\\.|\"\")*\"?"
    r"|[A-Za-z]{0,2}'(?:[^'\\]|\\.|'\"'\"'|'\\''|'')*'?"
)
BARE = r"[^\s&;,\"'}\]<>)]"
# A comma, a quote, a bracket ends a value, unless the value goes on behind it.
ON = rf"[\"',;)\]}}](?![{{\[(]|[\w.%-]+\\?[\"']?\s{{0,4}}[=:]){BARE}+"
VALUE = re.compile(
    rf"\[Filtered\]|{QUOTED}|<[^<>]{{1,300}}>"
    r"|[|>][-+]?[ \t]*\n(?:[ \t]+[^\n]*\n?)+"  # a block of YAML
    rf"|(?:{SCHEME})?{BARE}+(?:{ON})*",
    re.DOTALL,
)
REST = re.compile(rf"{BARE}*(?:{ON})*")  # a value goes on behind its brackets
CALL = re.compile(r"[A-Za-z_][\w.]{0,100}(?=[(\[{])")  # password=SecretStr('...')
# The rest of a header, and in group 1 the cookies behind the first one; it matches everywhere.
COOKIES = re.compile(r"[^\s&;,\"']*((?:;\s?[^\s;=\"']+=[^\s;\"']*)*)")
WHOLE_LINE = re.compile("authorization|cookie", re.IGNORECASE)
LINE = re.compile(
    rf"\[Filtered\]|{QUOTED}|(?:=\"[^\"\r\n]*\"|=\{{[^{{}}\r\n]*\}}|[^\r\n\"'])*", re.DOTALL
)
# Authorization in a log line: any scheme, and what stands behind it.
HEADER = re.compile(rf"[A-Z][A-Za-z0-9-]{{1,30}} {BARE}+(?:{ON})*|{VALUE.pattern}", re.DOTALL)
# What stands for a value, or says that there is none.
PLACEHOLDER = re.compile(
    r"(?:\?\d*|%s|%\(\w+\)s|\$\d+|:[a-z_]\w*|(?i:none|null|true|false)"
    r"|(?:float|int|path|str|uuid)(?=\}))"  # /files/{token:path}
    rf"(?!{BARE}|{ON})"
)

# A list or mapping as a value ends where its brackets are closed, those inside of quotes apart.
BRACKETS = re.compile(r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[\[\](){}]", re.DOTALL)

# `<key>value</key>`, a field of a multipart form, `key%3Dvalue` in an encoded query string; a pair
# (b'key', b'value'), a name beside a value or in front of a content, the input that Pydantic
# refused, JSON in an encoded query string, and a key of several words.
_NEW_LINE = r"(?:\r?\n|(?:\\r)?\\n)"
_NAMED = r"[Kk]ey|[Nn]ame|[Ff]ield"
_IS = r"\\?[\"']?\s?[:=]\s?"
_ENCODED_QUOTE = r"%(?:25){0,3}2[27]"
OTHER_KEY = re.compile(
    r"<(?<!/<)(?P<tag>[A-Za-z][\w:.-]{0,100})(?:\s[^<>]{0,300})?(?<!/)>"
    rf"|n(?<!\wn)ame=\\?\"(?P<field>[^\"\\\r\n]{{1,100}})\\?\""
    rf"(?:(?!{_NEW_LINE}{{2}}|\bname=)[^<>]){{0,300}}?{_NEW_LINE}{{2}}"
    r"|(?:%(?:25){0,3}[0-9A-Fa-f]{2}|(?<![\w%.-]))(?P<query>[A-Za-z_][\w.-]{0,60})%(?:25){0,3}3[Dd]"
    r"|[\[(]\s{0,40}b?\\?[\"'](-{0,2}[\w.-]{1,100})\\?[\"'],\s{0,40}(?=b?\\?[\"'])"
    rf"|(?:{_NAMED}){_IS}\\?[\"']?([\w./-]{{1,100}})\\?[\"']?[,\s]\s{{0,40}}"
    rf"(?:\\?[\"']?\w{{1,30}}{_IS}\\?[\"']?[\w./-]{{0,60}}\\?[\"']?[,\s]\s{{0,40}}){{0,3}}"
    rf"\\?[\"']?(?:Parameter)?[Vv]alue{_IS}"
    rf"|[Vv]alue\\?[\"']\s?:\s?(?=\\?[\"'][^\"'\\]{{0,1000}}\\?[\"'],\s{{0,40}}"
    rf"\\?[\"'](?:{_NAMED})\\?[\"']\s?:\s?\\?[\"']([\w./-]{{1,100}}))"
    r"|(?:name|key)=\\?\"(?P<content>[\w.-]{1,100})\\?\"[^<>]{0,200}(?<!/)>(?=[^<\s])"
    r"|'loc':[^{}]{0,500}?'(?P<input>input)':\s"
    rf"|{_ENCODED_QUOTE}(?P<json>[\w.-]{{1,100}}){_ENCODED_QUOTE}(?:%(?:25){{0,3}}3[Aa]|:)(?:%(?:25){{0,3}}20|\+|\s){{0,8}}"
    r"|[\"']([A-Za-z][\w.*-]{0,40}[ (][^\"'\\\n{}\[\]:,]{0,60})[\"']\s{0,40}:\s{0,40}(?=[\"'\w])",
    re.DOTALL,
)
FIELD_END = re.compile(rf"{_NEW_LINE}--|\Z")
QUERY_END = re.compile(r"%(?:25){0,3}(?:26|23|3[Bb])|[^\w.~%+*!-]|\Z")
JSON_VALUE = re.compile(
    r"\[Filtered\]"
    rf"|{_ENCODED_QUOTE}(?:[^%\s&\"<>]|%(?:25){{0,3}}5[Cc](?:%(?:25){{0,3}}[0-9A-Fa-f]{{2}})?"
    rf"|(?!{_ENCODED_QUOTE})%)*(?:{_ENCODED_QUOTE})?"
    r"|(?:%(?:25){0,3}[57][Bb]|[\[{])[^\s&\"<>]*"  # a list, a mapping: up to the next parameter
    r"|(?:[^%\s&,}\]\"'<>]|%(?!(?:25){0,3}(?:2[Cc]|[57][Dd])))*"
)

# Colours of a terminal, as they are and as they are printed.
COLOUR = re.compile(r"(?:\x1b|\\x1b|\\u001b)\[[\d;:]*m|\x1b")

COMMAND = re.compile(r"[A-Z][A-Z.]*(?: |\Z)")  # of Redis, as clients write it

# Keys of a cache: words between separators, and which of them are ids.
KEY_PARTS = re.compile(r"(, |[:/|. _-])")
ID = re.compile(r"(?!v\d{1,2}\Z)(?:.*\d|.{16})", re.DOTALL)

MAX_TEXT = 65_536
"""Characters of a text that are looked at: a longer one is cut, or it would take seconds."""

CUT_SECRET = 256  # characters before the cut, where half a secret may stand that no rule knows

MAX_REMEMBERED_TEXT = 256
MAX_REMEMBERED = 8192  # bound of the cache of texts that hold nothing to remove
