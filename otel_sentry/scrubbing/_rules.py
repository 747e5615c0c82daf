"""What is removed: the tables of keys. ``_shapes`` has those of texts."""

from __future__ import annotations

SENSITIVE_WORDS = frozenset(
    """
    auth authentication authorization bearer cookie cookies cred credential credentials creds csrf
    csrfmiddlewaretoken csrftoken cvc cvv dbpass iban idtoken jsessionid jwt otp pass passcode
    passphrase passwd password passwords phpsessid pin privatekey pswd pw pwd secret secrets session
    sessionid sid sig signature smtppass ssn token totp userpass xsrf xsrftoken
    """.split()  # noqa: SIM905 - one word a line would be a page
)
"""A key is sensitive when one of its words (``userPassword``, ``x-auth-token``) is one of these."""

SENSITIVE_ENDINGS = ("pwd", "token")
"""... or ends with one of these (``dbpwd``, ``sessiontoken``; ``tokens`` are counted)."""

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
    "functions_key",
    "master_key",
    "password",
    "passwd",
    "private_key",
    "rapidapi_key",
    "refresh_token",
    "secret",
    "security_code",
    "signing_key",
    "social_security",
    "subscription_key",
)
"""... or when it holds one of these, written together or apart (``dbpassword``, ``x-api-key``)."""

HARMLESS_ENDINGS = frozenset({"count", "error", "exception", "length", "limit", "size", "type"})
HARMLESS_ENDINGS |= {"age", "expires", "expiry", "lifetime", "timeout", "ttl"}
"""... unless it ends with one of these words (``token_count``, ``auth_type``, ``session_ttl``)."""

PERSONAL_KEYS = (
    "client_address",
    "client_ip",
    "clientip",
    "connecting_ip",
    "connecting_ipv_6",
    "date_of_birth",
    "email",
    "email_address",
    "enduser_id",
    "envoy_external_address",
    "family_name",
    "first_name",
    "firstname",
    "fly_client_ip",
    "forwarded",
    "forwarded_for",
    "forwarded_user",
    "full_name",
    "fullname",
    "given_name",
    "http_client_ip",
    "ip_address",
    "last_name",
    "lastname",
    "net_peer_ip",
    "net_sock_peer_addr",
    "network_peer_address",
    "phone",
    "phone_number",
    "remote_addr",
    "remote_ip",
    "remote_user",
    "source_address",
    "surname",
    "true_client_ip",
    "user_ip",
    "user_name",
    "username",
    "x_client_ip",
    "x_cluster_client_ip",
    "x_real_ip",
)
"""
Keys, or their ends, whose values are personal data; kept with ``SENTRY_SEND_DEFAULT_PII``, and in
the user that the application sets.
"""

POSITIONAL_PREFIXES = (
    "db.operation.parameter.",
    "db.params",
    "db.query.parameter.",
    "sentry.message.parameter.",
)
"""Keys that start so hold parameters, of statements and log lines, that no name explains."""

SQL_KEYS = frozenset({"db.statement", "db.query.text"})
CACHE_KEYS = frozenset({"cache.key", "db.redis.key", "redis.key"})
SYSTEM_KEYS = ("db.system.name", "db.system")
KEY_VALUE_STORES = frozenset({"memcached", "redis", "valkey"})
# In these "..." is a string; in other SQL it is the name of a column.
QUOTING_SYSTEMS = frozenset(
    """
    azure.cosmosdb bigquery cosmosdb couchbase gcp.bigquery gcp.spanner hive mariadb mysql neo4j
    spanner trino_hive
    """.split()  # noqa: SIM905 - one a line would be longer
)
DOCUMENT_STORES = frozenset({"mongodb"})  # their queries are a command's name and JSON

# Where the pattern of a path is, and where the path itself.
ROUTE_KEYS = ("http.route", "url.template")
PATH_KEYS = ("url.path", "http.target", "url.full", "http.url", "http.request.header.referer")

# Sentry's protocol: set by the configuration or made by us, and told apart by their exact text.
PROTOCOL_KEYS = frozenset(
    {"dist", "environment", "event_id", "parent_span_id", "release", "span_id", "trace_id"}
)

# A text under one of these is not read like any other.
SPECIAL_KEYS = PROTOCOL_KEYS | SQL_KEYS | CACHE_KEYS | frozenset(ROUTE_KEYS)

# Source code, not data: `token = read_token()` must stay readable.
SOURCE_KEYS = frozenset(
    {"abs_path", "context_line", "filename", "function", "module", "post_context", "pre_context"}
)

# What an event is made of. A key of the user's own that names a part of one of these (`text`, of
# `contexts`) does not mean it, and without it Sentry takes no event.
STRUCTURE = frozenset(
    """
    abs_path breadcrumbs category context_line contexts debug_meta dynamic_sampling_context
    exception filename fingerprint frames function images in_app level lineno links logentry
    measurements mechanism module modules op platform post_context pre_context request sdk source
    spans stacktrace start_timestamp status tags threads timestamp trace transaction_info type
    values
    """.split()  # noqa: SIM905 - one word a line would be a page
)

# Of an event: names of libraries, "pyjwt" among them, and their versions.
LIBRARY_KEYS = frozenset({"debug_meta", "modules", "sdk"})

MAX_DEPTH = 64  # deeper than sentry-sdk serialises; bounds the recursion
MAX_VALUES = 50_000  # of one attribute or part of an event; bounds what shared lists unfold to
MAX_KNOWN_KEYS = 10_000  # bound of the cache of decided keys; beyond it keys are decided anew
MAX_KEY = 200
