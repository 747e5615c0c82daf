from __future__ import annotations

import copy
import json
import math
import string
import time
import timeit
from datetime import datetime, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentry_conventions.attributes import ATTRIBUTE_METADATA
from sentry_relay.processing import StoreNormalizer

from otel_sentry.scrubbing import (
    FILTERED,
    PERSONAL_KEYS,
    SENSITIVE_PHRASES,
    SENSITIVE_WORDS,
    Scrubber,
)

SECRET = "Zq9xSekrit7Wv"
VISA = "4111111111111111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"
PRIVATE_KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE-vg\n" + SECRET + "\n-----END RSA PRIVATE KEY-----"
)


@pytest.fixture
def scrubber() -> Scrubber:
    return Scrubber()


# --- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "password", "Password", "PASSWORD", "dbpassword", "user_password", "userPassword",
        "user-password", "db.password", "password1", "new_passwd", "db_pass", "PGPASSWORD",
        "passphrase", "pwd", "secret", "client_secret", "clientSecret", "SECRET_KEY", "mysecret",
        "api_key", "apikey", "apiKey", "APIKey", "APIkey", "X-Api-Key", "userapikey", "api_keys",
        "api_tokens", "access_key", "AWS_SECRET_ACCESS_KEY", "token", "access_token",
        "accesstoken", "accessToken", "access_tokens", "auth_token", "authtoken", "id_token",
        "idtoken", "refresh_token", "refreshtoken", "csrftoken", "csrfmiddlewaretoken",
        "X-CSRF-Token", "Authorization", "authorization", "proxy-authorization",
        "http.request.header.authorization", "http.request.header.x-api-key", "Cookie",
        "Set-Cookie", "http.response.header.set_cookie", "cookies", "session", "sessionid",
        "connect.sid", "PHPSESSID", "JSESSIONID", "auth", "basic_auth", "bearer", "jwt", "my-jwt",
        "otp", "totp", "pin", "cvv", "cvv2", "cvc", "ssn", "iban", "credit_card", "creditCard",
        "creditcard", "cardnumber", "card-number", "credentials", "creds", "private_key",
        "privateKey", "privatekey", "signing_key", "encryption_key", "SharedAccessKey",
        "ocp-apim-subscription-key", "x-rapidapi-key", "x-functions-key", "sessiontoken",
        "bearertoken", "resetToken", "dbpass", "dbpwd", "userpwd", "userPwd", "smtppass",
        "master_key", "security_code",
        "X-Amz-Signature", "X-Amz-Security-Token", "sig", "b'authorization'", "user[password]",
        "social_security_number", *sorted(SENSITIVE_WORDS), *SENSITIVE_PHRASES,
    ],
)  # fmt: skip
def test_sensitive_keys(scrubber, key):
    """A key that names a secret is recognised, however it is written."""
    assert scrubber.is_sensitive(key)
    assert scrubber.is_sensitive(key), "the remembered answer is the same"


@pytest.mark.parametrize(
    "key",
    [
        "author", "authors", "author_name", "authored_by", "monkey", "keyboard", "primary_key",
        "foreign_key", "cache.key", "routing_key", "public_key", "sort_key", "input_tokens",
        "output_tokens", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "max_tokens",
        "token_count", "tokenCount", "token_type", "auth_type", "session_count", "password_length",
        "TokenExpiredError", "AuthenticationError", "sessions", "max_sessions", "bid_tokens",
        "gen_ai.usage.total_tokens", "tokens", "tokenizer", "tokenize", "subscription",
        "functions", "master", "key_master", "security", "codes", "security_group",
        "destination.address", "forwarded_count", "external_address", "resource", "user_agent",
        "span_id", "trace_id", "parent_span_id", "sentry.op", "sentry.source", "sentry.sample_rate",
        "sentry.release", "sentry.dsc.public_key", "db.system", "db.system.name", "db.name",
        "http.status_code", "http.response.status_code", "http.route", "http.method",
        "url.path", "url.query", "server.address", "server.port", "user_agent.original",
        "timestamp", "start_timestamp", "duration", "opinion", "pinned", "spinner", "mapping",
        "passenger", "compass", "passed", "bypass_count", "side", "inside", "consider", "residue",
        "insignia", "design", "assignment", "cookbook", "sessile", "possession", "discard",
        "session_ttl", "SESSION_COOKIE_AGE", "tokenLifetime", "auth_timeout", "secret.expiry",
        "description", "environment", "release", "messaging.system", "code.function", "os.name",
        "", "_", "...", "пароль", "12345",
    ],
)  # fmt: skip
def test_harmless_keys(scrubber, key):
    """A key that only looks like one that names a secret keeps its value."""
    assert not scrubber.is_sensitive(key)


@pytest.mark.parametrize("key", PERSONAL_KEYS)
def test_personal_keys(key):
    """IP addresses go, under the key and at a longer key's end, unless personal data is allowed."""
    for name in (key, f"http.request.header.{key}", key.replace("_", "-").title()):
        assert Scrubber().is_sensitive(name)
        assert not Scrubber(send_default_pii=True).is_sensitive(name)


@pytest.mark.parametrize(
    "key",
    [
        "x-original-forwarded-for", "forwarded-for", "x-envoy-external-address",
        "cf-connecting-ipv6", "x-azure-clientip", "remote_ip", "user_ip", "source.address",
    ],
)  # fmt: skip
def test_addresses_behind_proxies(key):
    """What proxies and platforms call the client's address is personal data."""
    assert Scrubber().is_sensitive(key)
    assert Scrubber().is_sensitive(f"http.request.header.{key}")
    assert not Scrubber(send_default_pii=True).is_sensitive(key)


# Each was looked at: it holds a secret, names one, or is an address.
REVIEWED_CONVENTIONS = {
    "aws.secretsmanager.secret.arn",
    "aws.secretsmanager.secret.name",
    "client.address",
    "db.params",
    "db.query.parameter.x",
    "gen_ai.response.time_to_first_token",  # a float: kept, see below
    "http.client_ip",
    "mcp.auth.client.name",
    "mcp.progress.token",
    "mcp.session.id",
    "net.peer.ip",
    "net.sock.peer.addr",
    "network.peer.address",
    "sentry.message.parameter.x",
    "sentry.user.email",
    "sentry.user.ip",
    "sentry.user.username",
    "session.id",
    "user.email",
    "user.full_name",
    "user.ip_address",
    "user.name",
    "vercel.proxy.client_ip",
}


def test_no_convention_is_taken_for_a_secret(scrubber):
    """Of Sentry's conventional attributes only a reviewed list counts as sensitive."""
    names = {name.replace("<key>", "x") for name in ATTRIBUTE_METADATA}
    assert len(names) > 500
    assert {name for name in names if scrubber.is_sensitive(name)} == REVIEWED_CONVENTIONS


def test_own_keys():
    """`scrub_keys` adds keys and parts of keys in any script, `keep_keys` wins over everything."""
    scrubber = Scrubber(
        ["Customer-Number", "пароль", "***", "token_count"], ["session.id", "geheim"]
    )
    assert scrubber.is_sensitive("billing.customerNumber")
    assert scrubber.is_sensitive("новый_пароль")
    assert scrubber.is_sensitive("token_count")
    assert not scrubber.is_sensitive("session.id")
    assert scrubber.is_sensitive("session.ident")
    assert not scrubber.is_sensitive("anything")
    assert not Scrubber(["abc"], ["x_abc"]).is_sensitive("x.abc")


def test_a_very_long_key_is_decided_whole(scrubber):
    """A sensitive word at the end of a key of any length is found, and such keys are not kept."""
    key = "a" * 5000 + ".password"
    assert scrubber.attributes({key: SECRET}) == {key: FILTERED}
    assert scrubber.text(f"{key}={SECRET}") == f"{key}={FILTERED}"
    assert key not in scrubber._keys.known


def test_memory_is_bounded(scrubber):
    """What the scrubber remembers has an end, and forgetting changes nothing."""
    for number in range(10_050):
        scrubber.is_sensitive(f"key.{number}")
    for number in range(8_200):
        scrubber.text(f"text {number}")
        scrubber.event({"exception": {"values": [{"context_line": f"line = {number}"}]}})
    assert len(scrubber._keys.known) == 10_000
    assert 0 < len(scrubber._texts.clean) <= 8192
    assert 0 < len(scrubber._texts.clean_sources) <= 8192
    assert scrubber.is_sensitive("some.new.password")
    scrubber.text("x" * 1000)
    assert "x" * 1000 not in scrubber._texts.clean


# --- texts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # URLs and query strings
        ("https://h/p?token=abc&x=1", "https://h/p?token=[Filtered]&x=1"),
        ("https://h/p?x=1&api_key=abc#f", "https://h/p?x=1&api_key=[Filtered]"),
        ("token=abc,def;ghi&x=1", "token=[Filtered]&x=1"),
        ("/cb?user%5Btoken%5D=x&a=1", "/cb?user%5Btoken%5D=[Filtered]&a=1"),
        ("user[password]=a%20b&user[name]=c", "user[password]=[Filtered]&user[name]=[Filtered]"),
        ("postgres://app:hunter2@db:5432/x", "postgres://[Filtered]@db:5432/x"),
        ("redis://:hunter2@cache/0", "redis://[Filtered]@cache/0"),
        ("amqp://u:p@ss:w@rd@host//", "amqp://[Filtered]@host//"),
        ("https://0123456789abcdef0123@o1.ingest.io/1", "https://[Filtered]@o1.ingest.io/1"),
        # JSON, Python, forms
        ('{"password": "a b", "x": 1}', '{"password": [Filtered], "x": 1}'),
        ('{"password":"a\\"b","x":1}', '{"password":[Filtered],"x":1}'),
        ('{"pin":1234,"x":1}', '{"pin":[Filtered],"x":1}'),
        ('{"secrets": ["a", "b"], "x": 1}', '{"secrets": [Filtered], "x": 1}'),
        ('{"auth": {"user": "a"}, "x": 1}', '{"auth": [Filtered], "x": 1}'),
        (
            r'{"body": "{\"password\":\"a\\\"b\",\"x\":1}"}',
            r'{"body": "{\"password\":[Filtered],\"x\":1}"}',
        ),
        ("{'token': 'abc', 'x': 1}", "{'token': [Filtered], 'x': 1}"),
        ("User(name='bob', password='a, b')", "User(name='bob', password=[Filtered])"),
        ("login(password=b'a b', x=1)", "login(password=[Filtered], x=1)"),
        ("environ['API_KEY'] = 'a b'", "environ['API_KEY'] = [Filtered]"),
        ("<Session token=abc>", "<Session token=[Filtered]>"),
        ("assert token == 'abc'", "assert token == [Filtered]"),
        ("'password' => 'abc'", "'password' => [Filtered]"),
        ("password=ab\"cd'ef", "password=[Filtered]"),
        ("a=1;sid=x;b=2", "a=1;sid=[Filtered];b=2"),
        ("API key: abc123", "API key: [Filtered]"),
        ("the access key = abc", "the access key = [Filtered]"),
        ("Key (token)=(abc) already exists", "Key (token)=[Filtered] already exists"),
        ("run --db-password hunter2 -v", "run --db-password [Filtered] -v"),
        ("run -password hunter2 -v", "run -password [Filtered] -v"),
        ("run --token=abc --x y", "run --token=[Filtered] --x y"),
        # headers
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: [Filtered]"),
        ("Authorization: ApiKey a b\nHost: h", "Authorization: [Filtered]\nHost: h"),
        ('Authorization: Digest username="a", response="b"', "Authorization: [Filtered]"),
        ("Cookie: theme=dark; a=b\r\nHost: h", "Cookie: [Filtered]\r\nHost: h"),
        ('Cookie: a="b"; c=d', "Cookie: [Filtered]"),
        ("cookie=none; sid=hunter2", "cookie=none; sid=[Filtered]"),
        ("Cookie: None; token=abc", "Cookie: None; token=[Filtered]"),
        ("cookie=a=b; c=d", "cookie=[Filtered]"),
        ("curl -H 'Cookie: a=b; c=d' http://h", "curl -H 'Cookie: [Filtered]' http://h"),
        ('{"Cookie": "a=b; c=d", "Host": "h"}', '{"Cookie": [Filtered], "Host": "h"}'),
        ("X-Api-Key: abc\nHost: h", "X-Api-Key: [Filtered]\nHost: h"),
        ("authorization=Bearer abc def", "authorization=[Filtered] def"),
        # shapes
        ("got Bearer abcdefgh", "got Bearer [Filtered]"),
        ("got bearer%20abcdefgh", "got bearer%20[Filtered]"),
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic [Filtered]"),
        (f"jwt {JWT}.", "jwt [Filtered]."),
        (f"key:\n{PRIVATE_KEY}\nend", "key:\n[Filtered]\nend"),
        ("-----BEGIN PRIVATE KEY-----\nabc", "[Filtered]"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc", "[Filtered]"),
        ("mail bob.x+y@mail.example.co.uk, now", "mail [Filtered], now"),
        ("mail bob@пример.рф now", "mail [Filtered] now"),
        ("stripe sk_live_4eC39HqLyjWDarjtT1", "stripe [Filtered]"),
        ("openai sk-proj-4eC39HqLyjWDarjtT1", "openai [Filtered]"),
        ("github ghp_0123456789abcdefghij", "github [Filtered]"),
        ("github github_pat_0123456789abcdefghij", "github [Filtered]"),
        ("gitlab glpat-0123456789abcdefghij", "gitlab [Filtered]"),
        ("sentry sntrys_0123456789abcdefghij", "sentry [Filtered]"),
        ("slack xoxb-0123456789", "slack [Filtered]"),
        ("google AIza" + "a1" * 17 + "x", "google [Filtered]"),
        ("aws AKIAIOSFODNN7EXAMPLE", "aws [Filtered]"),
        # cards
        (f"card {VISA}.", "card [Filtered]."),
        ("card 4111 1111 1111 1111, ok", "card [Filtered], ok"),
        ("card 4111-1111-1111-1111", "card [Filtered]"),
        ("card 4111 1111 1111 1111 123", "card [Filtered] 123"),
        ("5 4111 1111 1111 1111", "5 [Filtered]"),
        ("amex 3782 822463 10005", "amex [Filtered]"),
        ("master 5555555555554444", "master [Filtered]"),
        ("new 2223003122003222", "new [Filtered]"),
        # SQL in a message
        (
            "[SQL: INSERT INTO u VALUES (?)]\n[parameters: ('bob', 'x]')]\n(Background: y)",
            "[SQL: INSERT INTO u VALUES (?)]\n[parameters: [Filtered]]\n(Background: y)",
        ),
    ],
)
def test_secrets_leave_a_text(scrubber, text, expected):
    """A secret goes from a text, whatever kind of text it is, and what stands beside it stays."""
    scrubbed = scrubber.text(text)
    # A fragment behind the last value of a query goes with it.
    assert scrubbed == expected.replace("[Filtered]#f", FILTERED)
    assert scrubber.text(scrubbed) == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET /users/{id}",
        "http://localhost:6379/0?x=1",
        "https://example.com:8443/a@b",
        "the author: Bob",
        "monkey=1&author=bob&input_tokens=17&token_count=3",
        "Basic authentication required",
        "missing bearer token, see header",
        "token expired. Please log in",
        "digest mismatch",
        "TokenExpiredError: Signature has expired",
        "AuthenticationError: wrong user",
        "WHERE token = %(token_1)s AND secret = :secret AND pin = ? AND password = $1",
        "SELECT users.token::text",
        "auth::middleware",
        "session: None, token: null, password=",
        "shop@1.2.3 react@18.2.0",
        "me@localhost, @decorator, a @ b",
        "order 4111111111111112",
        "1411111111111111",
        "ids 200000000000012340 41112222333344447 312345678901234563",  # the check digits are right
        "0123456789abcdef4111111111111111",
        "version 4.1.1.1",
        "at 1700000000000000000 ns",
        "d41d8cd9-8f00-4204-a980-0998ecf8427e",
        "2026-01-01T12:00:00Z",
        "eyJ is how a JWT starts",
        "task-manager desk-organizer-and-more",
        '{"a": "b", "c": [1, 2]}',
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "ratio --verbose true",
        "/secret?key=1 key: 2, the key: 3 primary key: 4",
        " key: 1",
    ],
)
def test_harmless_texts_stay(scrubber, text):
    """A text without a secret stays as it is."""
    assert scrubber.text(text) == text


@pytest.mark.parametrize("number", [4111111111111111, 378282246310005, 6011111111111117])
def test_card_numbers(scrubber, number):
    """A card number goes, as a number and as a text; with a wrong check digit it stays."""
    assert scrubber.attributes({"n": number, "s": str(number)}) == {"n": FILTERED, "s": FILTERED}
    assert scrubber.attributes({"n": number + 1}) == {"n": number + 1}


@pytest.mark.parametrize(
    "number", [0, -4111111111111111, 1700000000000000000, pytest.param(10**6000, id="huge"), 10**19]
)
def test_other_numbers(scrubber, number):
    """A number that is no card number stays, even one too long to be written."""
    assert scrubber.attributes({"n": number}) == {"n": number}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT * FROM t WHERE a = 'bob'", "SELECT * FROM t WHERE a = ?"),
        ("a = 'it''s' AND b = 5 AND c = -1.5e3", "a = ? AND b = ? AND c = ?"),
        ("x IN (1, 2, 'a')", "x IN (?, ?, ?)"),
        ("a = 'x\\'y' AND b = 'z'", "a = ?"),
        ("a = 'unfinished", "a = ?"),
        ("a = $$body$$ AND b = $tag$ it's $tag$", "a = ? AND b = ?"),
        ("a = 0xDEADBEEF", "a = ?"),
        ('name = "bob" AND "t"."a" = "u"."b"', 'name =? AND "t"."a" = "u"."b"'),
        ("a = $1 AND b = %s AND c = :c1 AND d = ?", "a = $1 AND b = %s AND c = :c1 AND d = ?"),
        ("SELECT t1.col2, token FROM s3 WHERE token = t.token", None),
        ("UPDATE u SET password = %(password)s, auth = NULL", None),
        ("-- bob@example.com", "-- [Filtered]"),
        ('{"find": "u", "filter": {"password": "x"}}', None),
        ("SET session:17 ?", None),
    ],
)
def test_statements(scrubber, statement, expected):
    """SQL loses its literals and keeps its placeholders, names and keywords."""
    expected = statement if expected is None else expected
    expected = expected.replace('"password": "x"', '"password": [Filtered]')
    assert scrubber.statement(statement) == expected
    assert scrubber.statement(expected) == expected
    assert scrubber.attributes({"db.statement": statement}) == {"db.statement": expected}
    assert scrubber.attributes({"db.query.text": statement}) == {"db.query.text": expected}


# --- attributes --------------------------------------------------------------------------------


def test_attributes(scrubber):
    """Attributes keep their types where nothing is removed, and lists lose the single secret."""
    when = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert scrubber.attributes(
        {
            "http.status_code": 200,
            "ratio": 0.5,
            "gen_ai.response.time_to_first_token": 0.25,
            "ok": True,
            "password": None,
            "is_secret": True,
            "user.mails": ("a@example.com", "none"),
            "http.request.header.authorization": ("Bearer x",),
            "process.command_args": ("app", "--password", SECRET, "--verbose", "yes"),
            "body": f"password={SECRET}".encode(),
            "raw": b"\xff",
            "when": when,
            "odd": object(),
            "release": "shop@1.2.3.dev",
            "function": "read_token",
        }
    ) == {
        "http.status_code": 200,
        "ratio": 0.5,
        "gen_ai.response.time_to_first_token": 0.25,
        "ok": True,
        "password": None,
        "is_secret": True,
        "user.mails": [FILTERED, "none"],
        "http.request.header.authorization": FILTERED,
        "process.command_args": ["app", "--password", FILTERED, "--verbose", "yes"],
        "body": f"password={FILTERED}",
        "raw": "\ufffd",
        "when": when,
        "odd": FILTERED,
        "release": "shop@1.2.3.dev",
        "function": "read_token",
    }


def test_pairs_and_named_values(scrubber):
    """A pair and a name beside a value are read as key and value; a list of sentences is not."""
    assert scrubber.attributes(
        {
            "headers": [
                ["Authorization", "x"],
                ("Host", "h"),
                ["b'cookie'", "b'a=b'"],
                [b"x-api-key", b"x"],
            ],
            "env": [{"name": "API_KEY", "value": "x"}, {"key": "LANG", "value": "C"}],
            "lines": ["your token expired", "log in again"],
        }
    ) == {
        "headers": [
            ["Authorization", FILTERED],
            ["Host", "h"],
            ["b'cookie'", FILTERED],
            [b"x-api-key", FILTERED],
        ],
        "env": [{"name": "API_KEY", "value": FILTERED}, {"key": "LANG", "value": "C"}],
        "lines": ["your token expired", "log in again"],
    }


# --- events ------------------------------------------------------------------------------------


def error_event() -> dict:
    return {
        "event_id": "0123456789abcdef0123456789abcdef",
        "timestamp": "2026-01-01T12:00:00.000000Z",
        "level": "error",
        "platform": "python",
        "logger": "auth",
        "release": "shop@1.2.3.dev",
        "environment": "production",
        "transaction": "POST /login",
        "modules": {"pyjwt": "2.10.0", "django-session": "1.0"},
        "sdk": {"name": "sentry.python", "version": "2.75.0", "packages": []},
        "logentry": {"message": f"login failed: password={SECRET}", "params": []},
        "user": {
            "id": "7",
            "email": "bob@example.com",
            "username": "bob",
            "ip_address": "1.2.3.4",
            "session_token": SECRET,
            "data": {"password": SECRET, "plan": "pro"},
        },
        "request": {
            "method": "POST",
            "url": f"https://u:{SECRET}@shop.example/login?token={SECRET}",
            "query_string": f"token={SECRET}&page=2",
            "cookies": {"theme": SECRET},
            "headers": {
                "Authorization": f"Bearer {SECRET}",
                "Cookie": f"theme={SECRET}",
                "X-Forwarded-For": "1.2.3.4",
                "Host": "shop.example",
            },
            "env": {"REMOTE_ADDR": "1.2.3.4", "SERVER_NAME": "shop"},
            "data": {"name": "bob", "password": SECRET, "items": [{"card_number": SECRET}]},
        },
        "exception": {
            "values": [
                {
                    "type": "OperationalError",
                    "value": f"cannot connect to postgres://app:{SECRET}@db/shop",
                    "stacktrace": {
                        "frames": [
                            {
                                "filename": "app.py",
                                "function": "login",
                                "lineno": 7,
                                "context_line": "    token = read_token()",
                                "pre_context": ["    password = None", "    x = 1"],
                                "post_context": ["    return token"],
                                "vars": {
                                    "password": SECRET,
                                    "user": {"name": "bob", "api_key": SECRET},
                                    "form": f"{{'password': '{SECRET}', 'page': 2}}",
                                    "headers": [["b'authorization'", f"b'{SECRET}'"]],
                                    "page": "2",
                                },
                            }
                        ]
                    },
                }
            ]
        },
        "breadcrumbs": {
            "values": [
                {
                    "category": "query",
                    "message": "SELECT * FROM u WHERE token = %(token)s",
                    "data": {"secret": SECRET, "rows": 3},
                    "timestamp": "2026-01-01T12:00:00.000000Z",
                }
            ]
        },
        "extra": {"sys.argv": ["app", "--token", SECRET], "deep": [[{"a": {"secret": SECRET}}]]},
        "contexts": {"trace": {"trace_id": "0" * 31 + "1", "span_id": "1" * 16, "op": "x"}},
        "tags": {"auth_token": SECRET, "color": "blue"},
        "fingerprint": ["{{ default }}"],
    }


def link(token: str) -> dict:
    return {"trace_id": "0" * 31 + "2", "span_id": "5" * 16, "attributes": {"token": token}}


def transaction_event() -> dict:
    return {
        "type": "transaction",
        "event_id": "0123456789abcdef0123456789abcdef",
        "platform": "python",
        "transaction": "GET /users/{id}",
        "transaction_info": {"source": "route"},
        "start_timestamp": 1767265200.0,
        "timestamp": 1767265201.0,
        "contexts": {
            "trace": {
                "trace_id": "0" * 31 + "1",
                "span_id": "1" * 16,
                "op": "http.server",
                "data": {"http.request.header.cookie": SECRET, "http.route": "/users/{id}"},
                "links": [link(SECRET)],
            },
            "otel": {"resource": {"process.command_args": ["app", "--password", SECRET]}},
        },
        "breadcrumbs": {"values": [{"message": f"token={SECRET}", "timestamp": 1767265200.5}]},
        "spans": [
            {
                "trace_id": "0" * 31 + "1",
                "span_id": "2" * 16,
                "op": "db",
                "description": f"SELECT * FROM u WHERE name = '{SECRET}'",
                "data": {"db.statement": f"SELECT '{SECRET}'", "db.system": "postgresql"},
                "start_timestamp": 1767265200.1,
                "timestamp": 1767265200.2,
            },
            {
                "trace_id": "0" * 31 + "1",
                "span_id": "3" * 16,
                "op": "http.client",
                "description": f"GET https://api.example/?api_key={SECRET}",
                "data": {"url.full": f"https://api.example/?api_key={SECRET}"},
                "tags": {"secret": SECRET},
                "start_timestamp": 1767265200.1,
                "timestamp": 1767265200.2,
            },
            {
                "trace_id": "0" * 31 + "1",
                "span_id": "4" * 16,
                "start_timestamp": 1767265200.1,
                "timestamp": 1767265200.2,
            },
        ],
    }


def test_an_error_event_keeps_what_is_no_secret(scrubber):
    """Of an error event the secrets go, wherever they are, and everything else stays."""
    before = error_event()
    event = scrubber.event(before)
    assert before == error_event(), "the caller's event is not changed"
    assert SECRET not in json.dumps(event)
    assert event["user"] == {
        "id": "7",
        "email": "bob@example.com",
        "username": "bob",
        "ip_address": "1.2.3.4",
        "session_token": FILTERED,
        "data": {"password": FILTERED, "plan": "pro"},
    }
    assert event["request"] == {
        "method": "POST",
        "url": f"https://{FILTERED}@shop.example/login?token={FILTERED}",
        "query_string": f"token={FILTERED}&page=2",
        "cookies": {"theme": FILTERED},
        "headers": {
            "Authorization": FILTERED,
            "Cookie": FILTERED,
            "X-Forwarded-For": FILTERED,
            "Host": "shop.example",
        },
        "env": {"REMOTE_ADDR": FILTERED, "SERVER_NAME": "shop"},
        "data": {"name": "bob", "password": FILTERED, "items": [{"card_number": FILTERED}]},
    }
    frame = event["exception"]["values"][0]["stacktrace"]["frames"][0]
    assert frame["vars"] == {
        "password": FILTERED,
        "user": {"name": "bob", "api_key": FILTERED},
        "form": f"{{'password': {FILTERED}, 'page': 2}}",
        "headers": [["b'authorization'", FILTERED]],
        "page": "2",
    }
    assert event["extra"]["sys.argv"] == ["app", "--token", FILTERED]
    assert event["tags"] == {"auth_token": FILTERED, "color": "blue"}
    unchanged = ("event_id", "timestamp", "level", "platform", "logger", "release", "environment")
    unchanged += ("transaction", "modules", "sdk", "contexts", "fingerprint")
    assert {key: event[key] for key in unchanged} == {key: before[key] for key in unchanged}
    before_frame = before["exception"]["values"][0]["stacktrace"]["frames"][0]
    for key in ("filename", "function", "context_line", "pre_context", "post_context", "lineno"):
        assert frame[key] == before_frame[key], key
    crumb = event["breadcrumbs"]["values"][0]
    assert crumb["message"] == "SELECT * FROM u WHERE token = %(token)s"
    assert crumb["data"] == {"secret": FILTERED, "rows": 3}


def test_scrub_user():
    """With `scrub_user` e-mail, names and IP address of the user go; the id stays."""
    user = {"id": "7", "email": "a", "username": "b", "name": "c", "ip_address": "d", "plan": "e"}
    assert Scrubber(scrub_user=True).event({"user": user})["user"] == {
        **dict.fromkeys(user, FILTERED),
        "id": "7",
        "plan": "e",
    }
    assert Scrubber().event({"user": user})["user"] == user


def test_a_transaction_keeps_what_is_no_secret(scrubber):
    """Of a transaction the secrets go from data, descriptions, links, resource and breadcrumbs."""
    before = transaction_event()
    event = scrubber.event(before)
    assert before == transaction_event(), "the caller's event is not changed"
    assert SECRET not in json.dumps(event)
    trace = event["contexts"]["trace"]
    assert trace["data"] == {"http.request.header.cookie": FILTERED, "http.route": "/users/{id}"}
    assert trace["links"] == [link(FILTERED)]
    first, second, third = event["spans"]
    assert first["description"] == "SELECT * FROM u WHERE name = ?"
    assert first["data"] == {"db.statement": "SELECT ?", "db.system": "postgresql"}
    assert second["description"] == f"GET https://api.example/?api_key={FILTERED}"
    assert second["tags"] == {"secret": FILTERED}
    assert third.items() >= before["spans"][2].items()
    for key in ("transaction", "transaction_info", "timestamp", "start_timestamp", "type"):
        assert event[key] == before[key]


@pytest.mark.parametrize(
    "event", [error_event(), transaction_event()], ids=["error", "transaction"]
)
def test_relay_accepts_scrubbed_events(scrubber, event):
    """Sentry's own ingestion finds nothing wrong with an event that we scrubbed."""
    normalized = StoreNormalizer(project_id=1).normalize_event(scrubber.event(event))
    assert '"err"' not in json.dumps(normalized.get("_meta", {}))
    assert normalized["type"] == event.get("type", "error")
    assert len(normalized.get("spans", [])) == len(event.get("spans", []))


def test_an_event_that_cannot_be_scrubbed_does_not_leave(scrubber, caplog):
    """Where scrubbing itself fails only harmless fields are left, and the failure is logged."""

    class Broken(dict):
        def items(self):
            raise RuntimeError(SECRET)

    event = {"event_id": "1", "level": "error", "extra": Broken(), "message": SECRET}
    assert scrubber.event(event) == {"event_id": "1", "level": "error"}
    assert "scrubbing an event" in caplog.text
    assert SECRET not in caplog.text


def test_unusual_shapes_of_an_event(scrubber):
    """Cookies as a text, a user that is none and deep nesting are scrubbed, not passed on."""
    deep: dict = {"secret_free": SECRET}
    for _ in range(200):
        deep = {"a": [deep]}
    event = scrubber.event(
        {"request": {"cookies": f"a={SECRET}"}, "user": None, "spans": None, "extra": deep}
    )
    assert event["request"] == {"cookies": FILTERED}
    assert event["user"] is None
    assert event["spans"] is None
    assert SECRET not in json.dumps(event)


def test_very_deep_values(scrubber):
    """A value deeper than any event is cut off, not an error."""
    deep: object = "bottom"
    for _ in range(5_000):
        deep = {"a": deep}
    deep = scrubber.attributes({"a": deep})
    depth = 0
    while isinstance(deep, dict):
        deep, depth = deep["a"], depth + 1
    assert deep == FILTERED
    assert 50 < depth < 100


# --- properties --------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.sampled_from([VISA, JWT, "a=b", "token=x", "Bearer abcdefgh", "a@b.de", "x://a:b@c"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=12)
            | st.sampled_from(["password", "user", "spans", "request", "data"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
# Everything that means something to the rules, and filling between it.
hostile_texts = st.lists(
    st.sampled_from(
        [
            *"=:;&,\"'\\()[]{}<>@/?#%+-_. \n",
            "token", "password", "Cookie", "authorization", "bearer", "basic", "a", "1", "4",
            "b'", '\\"', '="', "://", "::", "=>", "==", "--", "eyJ", "eyJaaaaaa.", "-----BEGIN",
            " PRIVATE KEY-----", VISA, "4111 1111 1111 1111", "[Filtered]", "[parameters: ", "?",
            "%(x)s", "$1", "$$", "None", "api ", "sk-", "aaaaaaaaaaaaaaaa", "a@b.de", "x@y",
        ]
    )
    | st.text(max_size=4),
    max_size=12,
).map("".join)  # fmt: skip


@given(json_values.filter(lambda value: isinstance(value, dict)))
def test_events_are_scrubbed_once(event):
    """Scrubbing any JSON never raises, leaves JSON, and a second time changes nothing."""
    scrubber = Scrubber()
    before = copy.deepcopy(event)
    once = scrubber.event(event)
    assert event == before
    json.dumps(once)
    assert scrubber.event(once) == once
    attributes = scrubber.attributes(event)
    assert scrubber.attributes(attributes) == attributes


@settings(max_examples=600)
@given(hostile_texts)
@example('{"Cookie": "a=b; c=d", "Host": "h"}')
@example("a@b.de.a@b.de")
def test_texts_are_scrubbed_once(text):
    """A second scrubbing of a text or a statement changes nothing."""
    scrubber = Scrubber()
    once = scrubber.text(text)
    assert scrubber.text(once) == once
    statement = scrubber.statement(text)
    assert scrubber.statement(statement) == statement


sensitive_keys = st.builds(
    lambda before, key, after: f"{before}{key}{after}",
    st.sampled_from(["", "x_", "user.", "http.request.header.", "my-"]),
    st.sampled_from(sorted(SENSITIVE_WORDS | set(SENSITIVE_PHRASES))).flatmap(
        lambda key: st.sampled_from([key, key.upper(), key.title(), key.replace("_", "-")])
    ),
    st.sampled_from(["", "_1", ".value", "-old"]),
)
wrappers = st.lists(st.sampled_from(["dict", "list", "tuple", "vars"]), max_size=8)


@settings(max_examples=300)
@given(
    sensitive_keys,
    wrappers,
    wrappers,
    st.sampled_from(["extra", "contexts", "tags", "request", "breadcrumbs", "exception", "user"]),
)
def test_no_planted_secret_survives(key, outside, inside, section):
    """A secret under a sensitive key goes, at any nesting above and below that key."""

    def wrap(value, kinds):
        for kind in kinds:
            value = {
                "dict": {"a": value, "b": 1},
                "list": [1, value, 2],
                "tuple": ("x", value),
                "vars": {"vars": {"v": value}},
            }[kind]
        return value

    event = {section: {"outer": wrap({key: wrap(SECRET, inside)}, outside)}}
    assert SECRET not in repr(Scrubber().event(event))
    assert SECRET not in repr(Scrubber().attributes(event))


plain = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)


@settings(max_examples=300)
@given(
    sensitive_keys,
    plain,
    st.sampled_from(
        [
            "{key}={secret}",
            "a=1&{key}={secret}&b=2",
            '{{"x": 1, "{key}": "{secret}", "y": 2}}',
            '{{"{key}":"{word} {secret}"}}',
            "{{'{key}': '{word}\\'{secret}', 'y': 2}}",
            "{{'{key}': b'{secret}'}}",
            "call({key}='{secret}')",
            "{key}: {secret}\r\nHost: h",
            "https://h/?{key}={word},{secret}",
            "https://{word}:{secret}@h/",
            "run --{key} {secret}",
        ]
    ),
)
def test_no_planted_secret_survives_in_a_text(key, word, shape):
    """A secret written under a sensitive key goes from texts of all the usual notations."""
    scrubbed = Scrubber().text(shape.format(key=key, secret=SECRET, word=word))
    assert SECRET not in scrubbed


# --- time --------------------------------------------------------------------------------------

HOSTILE = {
    "keys": "a" * 50 + "=",
    "one key": "a",
    "brackets": "a[a",
    "quotes": "token='\\",
    "double quotes": '"',
    "nested JSON": '\\"token\\":\\"',
    "backslashes": "token=\\",
    "separators": "token=a,",
    "open lists": "token=[",
    "cookies": 'cookie: ="',
    "JWTs": "eyJaaaaaa-",
    "dotted JWTs": "eyJaaaaaa.",
    "dots": "a.",
    "mails": "a@",
    "long mails": "a.b@c.",
    "URLs": "://",
    "URL users": "://a:",
    "bearers": "bearer ",
    "basics": "basic aaaaaa",
    "digits": "4",
    "cards": "4111 ",
    "keys of keys": "-----BEGIN PRIVATE KEY-----",
    "dashes": "-",
    "flags": "--a ",
    "spaces": " ",
    "parameters": "[parameters: ",
    "words": "api ",
    "second words": "a key: ",
    "dollars": "$a$b",
    "SQL quotes": "'",
    "SQL strings": '= "a',
    "numbers": "1.",
    "percent": "%5B",
    "calls": "token=a(",
    "YAML": "token: |\n a\n",
    "angle brackets": "token=<",
    "cookies with =": "cookie=a=b; ",
    "elements": "<token>",
    "element names": "<a",
    "form fields": 'name="token"\r\n',
    "encoded pairs": "%3Ftoken%3D",
    "pairs": "('token', ",
    "named values": "name: token, value: ",
    "inputs": "'loc':'input': ",
    "statements": "[SQL: ",
    "lines": "LINE 1: ",
    "rows": "Failing row contains (",
    "keys of rows": "Key (a)=(",
    "pipelines": " () of pipeline caused error",
    "Pydantic": "input_value=",
    "scopes": "'client': (",
    "encoded mails": "a%40a.",
    "IBANs": "GB82 WEST ",
    "SQL values": 'values "',
    "placeholders of cookies": "cookie=none<",
    "values of cookies": "cookie=x<",
    "cookies in brackets": "cookie: [];a,",
    "many cookies": "cookie=x;a<",
    "cookies with braces": "cookie: ={",
    "authorization": "authorization=A a ",
    "values behind brackets": "token=a(),",
    "alignment": "token" + " " * 40,
    "escapes": r"\ntoken \n",
    "encoded shapes": "%20sk-eyJaaaaaaaa",
    "comments": "/* '",
    "open comments": "/*'",
    "comments of lines": "--'",
    "names in quotes": "\"'",
    "names in backticks": "`",
    "escaped quotes": r"'\'",
    "Oracle's quotes": "q'[",
    "tags of dollars": "$a1$",
    "long rows": "Failing row contains (\n",
    "long keys of rows": "Key (a)=(\n",
    "long entries": "Duplicate entry 'a\n",
    "wrong values": "Incorrect value: 'a",
    "near": "syntax to use near '",
    "cut lines": "LINE 2: ...'",
    "doubled quotes": "pin='a''",
    "quotes of shells": "pin='a'\"'\"'",
    "block strings": 'pin="""a',
    "types": "pin: str = ",
    "escaped HTML": "&quot;pin&quot;:&quot;a",
    "long keys in quotes": '"a b" ',
    "passwords with slashes": "://a:b/",
    "long passwords": "//a:bbbbbbbb",
    "encoded passwords": "%2F%2Fa%3Ab",
    "Oracle's users": "a/b@//",
    "empty parts of JWTs": "eyJaaaaaa..",
    "encoded keys": "-----BEGIN%20PRIVATE%20KEY-----",
    "beginnings of keys": "-----BEGIN ",
    "encoded JSON": "%22pin%22%3A",
    "encoded strings": "%22pin%22%3A%22%5C",
    "encoded lists": "%22pin%22%3A%5B",
    "names far from values": "name=pin a=b ",
    "values before names": '"value": "a", ',
    "named elements": '<a name="b" ',
    "named contents": 'name="pin">',
    "colours": "\x1b[1;",
    "printed colours": r"\x1b[1mtoken\x1b[",
    "blocks": "token:\n a\n",
    "empty blocks": "token:\n\n",
    "nested blocks": "token:\n  - token:\n  ",
    "wide blocks": " " * 30 + "pin:\n",
}


def _seconds(scrub, text: str) -> float:
    # Of this thread's own, without the garbage collector: nothing else on the machine is measured.
    return timeit.timeit(lambda: scrub(text), timer=time.thread_time, number=1)


@pytest.mark.parametrize("method", ["text", "statement"])
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_linear(scrubber, unit, method):
    """Four times the hostile text takes about four times as long, not sixteen."""
    scrub = getattr(scrubber, method)
    size = 8_000
    texts = [unit * (length // len(unit)) for length in (size, 4 * size)]
    least = [math.inf, math.inf]
    for attempt in range(12):
        # In turn, so that both lengths meet the same machine.
        least = [min(best, _seconds(scrub, text)) for best, text in zip(least, texts, strict=True)]
        ratio = least[1] / max(least[0], 20e-6)
        if attempt >= 2 and ratio < 9:
            return
    pytest.fail(f"{ratio:.1f} times as long")
