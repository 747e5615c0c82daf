"""
Time of the scrubber: on what spans usually say, and on the worst text for each rule.

    python benchmarks/scrubbing.py [--size 16000]

Fails if twice the text takes more than 2.8 times as long for any rule: time must be linear in the
size of whatever the application gets from outside.
"""

from __future__ import annotations

import argparse
import sys
import timeit

from otel_sentry.scrubbing import Scrubber

BOUND = 2.8  # 2 is linear, 4 is quadratic; a busy machine is somewhere above 2
ATTEMPTS = 5

USUAL = {
    "10 texts": {
        "http.request.method": "GET",
        "http.route": "/items/{item_id}",
        "url.path": "/items/3",
        "url.scheme": "http",
        "server.address": "shop.example",
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8.4.0",
        "db.system": "postgresql",
        "db.name": "shop",
        "db.operation": "SELECT",
    },
    "a statement": {
        "db.system": "postgresql",
        "db.name": "shop",
        "db.statement": "SELECT id, name, price FROM items WHERE id = %(id_1)s",
        "net.peer.name": "db.example",
        "net.peer.port": 5432,
    },
    "a Redis command": {"db.system": "redis", "db.statement": "GET ?", "net.peer.port": 6379},
}

# What makes each rule work most: beginnings without ends, and separators without keys.
WORST = {
    "keys": "a" * 50 + "=",
    "one key": "a",
    "brackets in keys": "a[a",
    "quoted values": "token='\\",
    "double quotes": '"',
    "nested JSON": '\\"token\\":\\"',
    "backslashes": "token=\\",
    "lists as values": "token=[",
    "calls as values": "token=a(",
    "blocks of YAML": "token: |\n a\n",
    "angle brackets": "token=<",
    "cookies": 'cookie: ="',
    "cookies with =": "cookie=a=b; ",
    "values of cookies": "cookie=x<",
    "braces in cookies": "cookie: ={",
    "nested blocks": "token:\n  - token:\n  ",
    "empty blocks": "token:\n\n",
    "doubled quotes": "token='a''",
    "colours": "\x1b[1;",
    "encoded JSON": "%22token%22%3A",
    "names far from values": "name=token a=b ",
    "values before names": '"value": "a", ',
    "keys in quotes": '"a b" ',
    "named contents": 'name="token">',
    "elements": "<token>",
    "element names": "<a",
    "form fields": 'name="token"\r\n',
    "encoded pairs": "%3Ftoken%3D",
    "percent signs": "%25",
    "pairs": "('token', ",
    "named values": "name: token, value: ",
    "inputs": "'loc':'input': ",
    "statements": "[SQL: ",
    "lines": "LINE 1: ",
    "parameters": "[parameters: ",
    "rows": "Failing row contains (",
    "duplicates": "Duplicate entry '",
    "keys of rows": "Key (a)=(",
    "Pydantic": "input_value=",
    "scopes": "'client': (",
    "JWTs": "eyJaaaaaa.",
    "e-mails": "a.b@c.",
    "encoded e-mails": "a%40a.",
    "URLs": "://a:",
    "passwords with slashes": "://a:b/",
    "encoded URLs": "%2F%2Fa%3Ab",
    "users": " -u a:",
    "bearers": "basic aaaaaa",
    "private keys": "-----BEGIN PRIVATE KEY-----",
    "cards": "4111 ",
    "digits": "4",
    "IBANs": "GB82 WEST ",
    "flags": "--a ",
    "SQL quotes": "'",
    "SQL strings": '= "a',
    "SQL values": 'values "',
    "SQL comments": "/*'",
    "names in SQL": "\"'",
    "Oracle's quotes": "q'[",
    "dollars": "$a$b",
    "numbers": "1.",
}


def seconds(scrub, text: str) -> float:
    """Return the least time of some runs."""
    return min(timeit.repeat(lambda: scrub(text), number=1, repeat=5))


def main() -> int:
    """Print both tables; return 1 if a rule is not linear."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--size", type=int, default=16_000, help="characters of the shorter text")
    size = parser.parse_args().size
    scrubber = Scrubber()
    for name, attributes in USUAL.items():
        best = min(timeit.repeat(lambda a=attributes: scrubber.attributes(a), number=2000))
        print(f"{name:20} {best / 2000 * 1e6:8.2f} us")
    worst = 0.0
    for name, unit in WORST.items():
        short, long = (unit * (length // len(unit)) for length in (size, 2 * size))
        for way in ("text", "statement"):
            scrub = getattr(scrubber, way)
            for _ in range(ATTEMPTS):  # a busy machine may spoil one comparison
                once, twice = seconds(scrub, short), seconds(scrub, long)
                if twice <= BOUND * once:
                    break
            worst = max(worst, twice / once)
            speed = once / size * 1e9
            print(f"{name:20} {way:10} {speed:8.1f} ns a character   x2: {twice / once:5.2f}")
    print(f"worst ratio {worst:.2f}, bound {BOUND}")
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
