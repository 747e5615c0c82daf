from __future__ import annotations

import pytest

from otel_sentry.scrubbing import Scrubber

X = "Zq9xSekrit7Wv"


@pytest.mark.parametrize(
    "text",
    [
        # bodies
        f'{{"a":{{"password":{{"b":{{"c":1}},"d":"{X}"}}}}}}',
        f'{{\\"token\\": \\"{X}\\"}}',
        f'{{\\\\\\"token\\\\\\": \\\\\\"{X}\\\\\\"}}',
        f"<password>{X}</password>",
        f"<a:password x='1'><![CDATA[{X}]]></a:password>",
        f"<secret><b>{X}",
        f'Content-Disposition: form-data; name="password"\r\n\r\n{X}\r\n--b--',
        f'form-data; name="api_key"; filename="x"\r\nContent-Type: text/plain\r\n\r\n{X}\r\n--b',
        repr(f'name="password"\r\n\r\n{X}\r\n--b--'.encode()),
        f"secret: |\n  {X}\n",
        # encoded query strings
        f"next=%2Fcb%3Ftoken%3D{X}%26a%3D1",
        f"/login?next=%252Fcb%253Ftoken%253D{X}",
        f"https://h/#access_token={X}&x=1",
        f"q={X}%40mail.example",
        # what Python prints
        f"[(b'host', b'x'), (b'cookie', b'a={X}')]",
        f'[["password", "{X}"]]',
        f"FormData([('password', '{X}')])",
        f"User(password=Foo(a=(1,2), b='{X}'))",
        f"password=<Foo {X}>",
        f"{{'name': 'password', 'value': '{X}'}}",
        f"{{'loc': ('body', 'password'), 'msg': 'x', 'input': '{X}'}}",
        f"{{'type': 'http', 'client': ('{X}', 1), 'scheme': 'http'}}",
        # errors of databases and of Pydantic
        f"DETAIL:  Key (username)=({X}) already exists.\n",
        f"DETAIL:  Failing row contains (1, {X}, null).",
        f"Duplicate entry '{X}' for key 'u.x'",
        f'invalid input syntax for type integer: "{X}"',
        f"invalid input for query argument $1: '{X}' (an integer is required)",
        f"[type=value_error, input_value='{X}', input_type=str]",
        f"[SQL: INSERT INTO u VALUES ('{X}')]\n[parameters: ('{X}',)]\n(Background",
        f"[SQL: SELECT * FROM t WHERE a='{X}'",
        f"Command # 1 (LPUSH cart {X} (2)) of pipeline caused error: WRONGTYPE Operation",
        f"LINE 1: SELECT '{X}'\n     ^",
        f"LINE 2: VALUES ('{X}')\n   ^",
        f"LINE 1: ...{X}', 'c'\n   ^",
        f"LINE 1: ...ES ('a', 'b'), '{X}', 'c...\n   ^",
        f"DETAIL:  Failing row contains (7, Bob\nMain St {X}, x).",
        f"Failing row contains (7, Bob\nMain St {X}, x).\n[SQL: SELECT a]",
        f"Key (name)=(bob (x) {X}) already exists.",
        f"Key (name)=(bob\n{X}) is not present in table",
        f"Duplicate entry 'a\n{X}' for key 'u'",
        f"Incorrect integer value: '{X}' for column 'a' at row 1",
        f"Truncated incorrect DOUBLE value: '{X}'",
        f"right syntax to use near ''{X}' at line 1",
        f"right syntax to use near 's {X}'' at line 1",
        # command lines
        f"curl -u user:{X} http://h",
        f"curl --user user:{X} http://h",
        f'--password "{X}"',
        f"//user:{X}@host/x",
        f"cookie=a={X}; b={X}",
        # headers as Python and JSON print them
        f"cookies: {{'theme': '{X}'}}",
        f'{{"Authorization": ["Negotiate {X}"]}}',
        f"{{'set-cookie': ['a={X}; Path=/']}}",
        f"'cookie': SimpleCookie('a={X}')",
        f"Cookie: session[1]={X}; b={X}",
        f'Cookie: p={{"a":"b"}}; foo={X}',
        f"authorization=Negotiate {X}",
        f"Authorization => ApiKey {X}",
        # passwords with brackets in them
        f"password=a(b){X}",
        f"password={{a}}{X}",
        # quotes inside of values, and other ways to write them
        f"password='it''s {X}'",
        f"--password 'it'\"'\"'s {X}'",
        f"password='it'\\''s {X}'",
        f'password: """{X}"""',
        f'password: """a "quoted" {X}"""',
        f"password: str = '{X}'",
        f"def f(password: str | None = '{X}'):",
        f'{{"Client Secret Value": "{X}"}}',
        f'{{"Password (repeat)": "{X}"}}',
        f"{{'the api key': '{X}'}}",
        f"&quot;password&quot;: &quot;{X}&quot;",
        f"&#34;password&#34;:&#34;a {X}&#34;",
        # URLs
        f"postgres://app:a/{X}@db",
        f"postgres://app:a#{X}@db/x",
        f"postgres://app:{'a' * 260}{X}@db",
        f"u=https%3A%2F%2Fapp%3A{X}%40db%2Fx",
        f"u=https%3A%2F%2Fapp%3Aa%2C{X}%40db%2Fx",
        f"jdbc:oracle:thin:scott/{X}@//h:1/x",
        # other tokens and keys
        f"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..48V1_ALb6US04U3b.5eym8TW.{X}",
        f"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0.OKOawDo13gRp2ojaHV7L.48V1.5eym8TW.{X}",
        f"-----BEGIN+RSA+PRIVATE+KEY-----%0A{X}",
        f"pem=-----BEGIN%20PRIVATE%20KEY-----%0A{X}%0A-----END%20PRIVATE%20KEY-----",
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n{'A' * 30_000}{X}",
        # JSON in an encoded query
        f"/g?variables=%7B%22password%22%3A%22{X}%22%7D",
        f"/g?variables=%7B%22a%22%3A1,%22token%22:%20%22a%5C%22{X}%22%7D",
        f"/g?v=%257B%2522password%2522%253A%2522{X}%2522%257D",
        f"/g?v=%7B%22auth%22%3A%7B%22a%22%3A%22{X}%22%7D%7D&b=1",
        f"/g?v=%7B%22pin%22%3A{X}%7D",
        # a name beside a value
        f'{{\n  "name": "password",\n      "value": "{X}"\n}}',
        f'{{"value": "{X}", "name": "password"}}',
        f"{{'value': '{X}', 'key': 'password'}}",
        f'{{"Name": "DbPassword", "Value": "{X}"}}',
        f'{{"ParameterKey": "DbPassword", "ParameterValue": "{X}"}}',
        f'{{"Name": "/shop/db_password", "Type": "SecureString", "Value": "{X}"}}',
        f'{{"field": "password", "value": "{X}"}}',
        f"- name: DB_PASSWORD\n  value: {X}",
        f'<add key="Password" value="{X}"/>',
        f'<input type="password" name="password" value="{X}">',
        f'<input name="password" type="password" value="{X}">',
        f'<param name="password">{X}</param>',
        # printed line breaks and other escapes
        rf"'USER=bob\ntoken={X}'",
        rf"'x\r\ncookie: a={X}'",
        rf"'x\nsession={X}'",
        rf"'x\npin: {X}'",
        rf"'x\tauth={X}'",
        rf'"?a=1\u0026pin={X}"',
        # colours
        f"\x1b[32mtoken={X}",
        f"\x1b[36mtoken\x1b[0m=\x1b[35m{X}\x1b[0m",
        rf"'\x1b[36mtoken\x1b[0m=\x1b[35m{X}'",
        # aligned, and YAML
        f"user          = app\npassword      = {X}",
        f"password:          {X}",
        f'{{\n  "password"      : "{X}"}}',
        f"password:\n      {X}",
        f"passwords:\n  - {X}\n  - {X}",
        f"passwords:\n- {X}\n\n- {X}\n",
        f"a: 1\ncredentials:\n  user: bob\n  value: {X}\n",
        f"- credentials:\n    user: bob\n    value: {X}",
        f'[\n    "password",\n    "{X}"\n]',
    ],
)
def test_a_secret_leaves_every_notation(text):
    """A secret goes from bodies, printed values, errors and command lines; once is enough."""
    scrubbed = Scrubber().text(text)

    assert X not in scrubbed
    assert Scrubber().text(str(scrubbed)) == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "<b>bold</b> 100%25 of name=\"x\" and ('host', 'h')",
        "[SQL: SELECT 1 FROM t WHERE a = ?]\n".replace("1", "a"),
        "Key (id) is missing",
        "user 123-45-678, GB82 TEST 1234, 2026-01-01",
        "GB00WEST12345698765432",  # the check digits are wrong
        "a%3Db, page%3D2",
        # URLs
        "http://[::1]:8000/a@b http://localhost:8000/a@b?c=d@e",
        "file:///C:/Users/bob/a@b",
        "git+ssh://git@host:org/repo@v1 docker://registry:5000/image@sha256",
        "u=https%3A%2F%2Fhost%3A8000%2Fa%40b",
        # names beside values
        '{"name": "author", "value": "bob"}, {"value": "bob", "name": "author"}',
        '{"Name": "max_tokens", "Type": "Integer", "Value": "4096"}',
        '<add key="Retries" value="3"/><param name="size">3</param>',
        '{"Input tokens": 17, "The author": "bob", "a b": {"c d": 1}}',
        "/g?variables=%7B%22author%22%3A%22bob%22%2C%22max_tokens%22%3A17%7D",
        "def f(author: str = 'bob', token: str | None = None)",
        "-----BEGIN+CERTIFICATE-----%0AMIIE",
        "eyJhbGciOi.a and eyJhbGciOi..b",
        # errors
        "see LINE 2 of the file, and it's line 3: 'x'",
        "LINE 10: SELECT a FROM t WHERE b = %(b)s\n       ^",
        "an incorrect value: use 'x'",
        "Duplicate entry in the table",
        "the syntax to use near the house",
        # printed, aligned, indented
        r"C:\new\tools\readme.txt: 3 lines\nauthor: bob",
        r"'a\nkeyboard=1\rinput_tokens=3'",
        r"\author: bob \keyboard=1",
        "name          = app\nretries       = 3",
        "the token: none",
        "token:\n  null\nuser: bob",
        "services:\n  - web\n  - worker\nports:\n  - 80",
        "gen_ai.usage.input_tokens:\n  17\nmax_tokens:\n  - 4096",
        "started\n    at 2026-01-01T12:00:00Z\n    by worker-1",
        r"a\n4111111111111112 %204111111111111112",
        r"x\ntask-manager-with-many-words %20risk-averse-and-more-words",
        r"d41d8cd98f00b204e9800998ecf8427e\nsha256:e3b0c44298fc1c149afbf4c8996fb924",
    ],
)
def test_the_same_notations_without_a_secret_stay(text):
    """What only has the form of such a text stays as it is."""
    assert Scrubber().text(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"credentials:\n  value: {X}\nuser: bob", "credentials:\n  [Filtered]\nuser: bob"),
        (f"a:\n  keys:\n  pin:\n  - {X}\n  b: 1", "a:\n  keys:\n  pin:\n  [Filtered]\n  b: 1"),
        (f"{{'cookies': {{'a': '{X}'}}, 'x': 1}}", "{'cookies': [Filtered], 'x': 1}"),
        (f"cookies: {{'a': '{X}'}} for bob", "cookies: [Filtered] for bob"),
        (
            f"Failing row contains (7, {X}).\n[SQL: SELECT a]\n(see b)",
            "Failing row contains ([Filtered]\n[SQL: SELECT a]\n(see b)",
        ),
        (f"Key (a)=({X}) already exists.", "Key (a)=([Filtered]) already exists."),
        (
            f"Duplicate entry 'a\n{X}' for key 'u'",
            "Duplicate entry '[Filtered]' for key 'u'",
        ),
        (
            f"Incorrect integer value: '{X}' for column 'a' at row 1",
            "Incorrect integer value: '[Filtered]' for column 'a' at row 1",
        ),
        (
            f"syntax to use near 'FORM t WHERE a = '{X}'' at line 1",
            "syntax to use near 'FORM t WHERE a = ?' at line 1",
        ),
        (f"LINE 3: ...a FROM t WHERE b = '{X}' AND c\n ^", "LINE 3: ...? AND c\n ^"),
        (
            f'{{"Client Secret": "{X}", "b c": "d"}}',
            '{"Client Secret": [Filtered], "b c": "d"}',
        ),
        (f"{{'password': '', 'a': '{X[0]}'}}", f"{{'password': [Filtered], 'a': '{X[0]}'}}"),
        (f"postgres://app:a/{X}@db/x?mode=1", "postgres://[Filtered]@db/x?mode=1"),
        (f"u=https%3A%2F%2Fapp%3A{X}%40db%2Fx&b", "u=https%3A%2F%2F[Filtered]%40db%2Fx&b"),
        (
            f"/g?v=%7B%22token%22%3A%22{X}%22%2C%22a%22%3A1%7D&b=2",
            "/g?v=%7B%22token%22%3A[Filtered]%2C%22a%22%3A1%7D&b=2",
        ),
        (
            f"/g?v=%7B%22pin%22%3A{X}%2C%22a%22%3A1%7D",
            "/g?v=%7B%22pin%22%3A[Filtered]%2C%22a%22%3A1%7D",
        ),
        (
            f'<add key="Password" value="{X}"/><add key="a" value="b"/>',
            '<add key="Password" value=[Filtered]/><add key="a" value="b"/>',
        ),
        (f'<param name="pin">{X}</param><b>c</b>', '<param name="pin">[Filtered]</param><b>c</b>'),
        (
            f'{{"value": "{X}", "name": "pin", "b": 1}}',
            '{"value": [Filtered], "name": "pin", "b": 1}',
        ),
        (rf"'a=1\ntoken={X}'", r"'a=1\ntoken=[Filtered]'"),
        (f"\x1b[1mpin\x1b[0m={X} \x1b[2mok\x1b[0m", "pin=[Filtered] ok"),
    ],
)
def test_what_stands_beside_a_secret_stays(text, expected):
    """A value ends where its notation says: what follows it is kept."""
    assert Scrubber().text(text) == expected
    assert Scrubber().text(expected) == expected


SHAPES = (
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
    "sk_live_4eC39HqLyjWDarjtT1",
    "ghp_0123456789abcdefghij",
    "AKIAIOSFODNN7EXAMPLE",
    "4111111111111111",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
    "123-45-6789",
    "bob@mail.example",
)


@pytest.mark.parametrize(
    "before", [r"\n", r"\t", "%3D", "%2F", "%20", "%0a", r"\u0026", r"\x00", "\x1b[32m", r"\x1b[0m"]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_behind_an_escape(before, shape):
    """What is printed or encoded stands in front of a secret like a letter, and hides none."""
    scrubbed = Scrubber().text(f"a {before}{shape} b")
    assert shape not in scrubbed
    assert shape[-6:] not in scrubbed
    assert Scrubber().text(f"a {before}Bearer abcdefgh").endswith("Bearer [Filtered]")


def test_colours_without_a_secret_stay():
    """Colours are taken out of a text only together with a secret."""
    text = "\x1b[32mINFO\x1b[0m started \x1b[1;31mworker\x1b[0m"
    assert Scrubber().text(text) is text


def test_numbers_that_name_a_person():
    """An IBAN with valid check digits and a social security number go."""
    assert Scrubber().text("to GB82 WEST 1234 5698 7654 32 now") == "to [Filtered] now"
    assert Scrubber().text("DE89370400440532013000") == "[Filtered]"
    assert Scrubber().text("ssn 123-45-6789.") == "ssn [Filtered]."


@pytest.mark.parametrize(
    ("system", "statement", "expected"),
    [
        ("mysql", f'SELECT * FROM u WHERE a LIKE "{X}"', "SELECT * FROM u WHERE a LIKE ?"),
        ("mysql", f'SELECT "{X}"', "SELECT ?"),
        ("postgresql", 'SELECT "column" FROM "table"', 'SELECT "column" FROM "table"'),
        ("", f'INSERT INTO u (a, b) VALUES (x, "{X}")', "INSERT INTO u (a, b) VALUES (x, ?)"),
        ("redis", f"SET user {X}\nGET ?", "SET ? ?\nGET ?"),
        ("redis", "PING", "PING"),
        ("redis", f"PING\nSET user {X}", "PING\nSET ? ?"),
        ("redis", f'JSON.SET user $ {{"name":"{X}"}}', "JSON.SET ? ? ?"),
        ("redis", "EVAL_RO return-Lovelace 0", "EVAL_RO ? ?"),
        ("redis", "RESTORE-ASKING lovelace 0", "RESTORE-ASKING ? ?"),
        ("memcached", "get_many ada-lovelace-basket grace", "get_many ? ?"),
        ("redis", f"SET a b\n{X}\n{X} c\nJSON.GET d", "SET ? ?\n?\n? ?\nJSON.GET ?"),
        # comments and quoted names with an apostrophe
        ("", f"-- the user's row\nSELECT 1.5, '{X}'", "-- the user?\nSELECT ?, ?"),
        ("", f"/* bob's */ SELECT '{X}' -- it's", "/* bob?*/ SELECT ? -- it?"),
        ("", f"/* a */ SELECT '{X}' /* unfinished", "/* a */ SELECT ? /* unfinished"),
        ("postgresql", f"SELECT \"o'b\" FROM t WHERE b='{X}'", 'SELECT "o\'b" FROM t WHERE b=?'),
        ("mysql", f"SELECT `o'b` FROM t WHERE b='{X}'", "SELECT `o'b` FROM t WHERE b=?"),
        ("mysql", f'-- a" pipe\nSELECT "{X}"', '-- a" pipe\nSELECT ?'),
        ("mysql", f'SELECT \'it"s\', "{X}"', "SELECT ?, ?"),
        ("", f'INSERT INTO t VALUES (\'it"s\', "{X}")', "INSERT INTO t VALUES (?, ?)"),
        ("", f"SELECT \"unfinished, '{X}'", 'SELECT "unfinished, ?'),
        ("", "SELECT a /*route='/users',n=1*/", "SELECT a /*route=?,n=?*/"),
        # other literals
        ("postgresql", f"SELECT $q1$ {X} $q1$", "SELECT ?"),
        ("postgresql", "SELECT $1, $2", "SELECT $1, $2"),
        ("oracle", f"SELECT q'[it's {X}]', q'!it's {X}!' FROM t", "SELECT ?, ? FROM t"),
        ("mysql", f"SELECT 'it\\'s {X}", "SELECT ?"),
        ("mysql", "SELECT 'it\\'s' FROM t", "SELECT ? FROM t"),
        ("mongodb", f'find {{"password": "{X}"}}', 'find {"password": [Filtered]}'),
        ("neo4j", f'MATCH (u {{name: "{X}"}}) RETURN u', "MATCH (u {name: ?}) RETURN u"),
        ("couchbase", f'SELECT a FROM b WHERE a LIKE "{X}"', "SELECT a FROM b WHERE a LIKE ?"),
        ("azure.cosmosdb", f'SELECT * FROM c WHERE a IN ("{X}")', "SELECT * FROM c WHERE a IN (?)"),
    ],
)
def test_statements_of_systems(system, statement, expected):
    """How a statement is read depends on the database, in its attribute and its description."""
    scrubber = Scrubber()
    for _ in range(2):  # what is remembered of one system says nothing of another
        scrubber.statement(statement, "postgresql")
        attributes = {"db.system": system, "db.statement": statement}
        assert scrubber.attributes(attributes)["db.statement"] == expected
        op = {"redis": "db.redis", "memcached": "cache.get"}.get(system, "db")
        assert scrubber.description(op, statement, system) == expected
    span = {"op": op, "description": statement, "data": {"db.system.name": system}}
    assert scrubber.event({"spans": [span]})["spans"][0]["description"] == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("user:42:cart", "user:?:cart"),
        ("v1:session:abcdef, page:home", "v1:session:?, page:home"),
        ("users", "users"),
        ("item:d41d8cd9-8f00, mail:bob@mail.example", "item:?-?, mail:[Filtered]"),
        (f"token/{X}/x", "token/?/?"),
        ("abcdefghijklmnopq", "?"),
        ("cart, page of Lovelace", "cart, page of Lovelace"),
    ],
)
def test_keys_of_a_cache(keys, expected):
    """Of a cache's keys the words stay, which tell its pages apart; ids and secrets go."""
    scrubber = Scrubber()
    assert scrubber.attributes({"cache.key": keys}) == {"cache.key": expected}
    assert scrubber.attributes({"cache.key": [keys]}) == {"cache.key": [expected]}
    assert scrubber.attributes({"cache.key": expected}) == {"cache.key": expected}
    assert scrubber.description("cache.get", keys) == expected


def test_a_key_with_a_space_is_no_command():
    """What stands before the space loses its ids even where it looks like a command's name."""
    assert Scrubber().description("cache.get", "user:42 cart") == "user:? ?"
    assert Scrubber().description("cache.get", "session_basket cart") == "session_? ?"


def test_queries_in_breadcrumbs():
    """Breadcrumbs that sentry-sdk leaves for SQL and Redis are read as what they are."""
    crumbs = [
        {"category": "query", "message": f"SELECT '{X}'"},
        {"category": "redis", "message": f"GET '{X}'", "data": {"redis.key": f"user:{X}"}},
        {"category": "query", "message": None},
    ]
    event = Scrubber().event({"breadcrumbs": {"values": crumbs}})
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == [
        "SELECT ?",
        "GET ?",
        None,
    ]
    assert event["breadcrumbs"]["values"][1]["data"] == {"redis.key": "user:?"}
