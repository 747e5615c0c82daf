"""Secrets that are each planted in one place, and what becomes of them."""

from __future__ import annotations

import base64
import hashlib


def _token(place: str) -> str:
    return "cny" + hashlib.sha256(place.encode()).hexdigest()[:16]


def _card(place: str) -> str:
    """Return a number that a card could have, check digit included."""
    digits = "4" + str(int(hashlib.sha256(place.encode()).hexdigest(), 16))[:14]
    doubled = [2 * int(digit) for digit in digits[::2]]
    total = sum(number - 9 * (number > 9) for number in doubled) + sum(map(int, digits[1::2]))
    return digits + str(-total % 10)


# Where it is planted. Each is looked for in all that leaves the processes, so each is unique.
PLACES = (
    # of the request
    "header authorization", "header cookie", "header proxy-authorization", "header x-api-key",
    "header x-auth-token", "header x-csrf-token", "header x-session-id", "header x-forwarded-for",
    "response header set-cookie", "query token", "query api_key", "query password", "path token",
    "fragment of the referer",
    # of its body
    "json password", "json nested secret", "json access_token", "json refresh_token", "json e-mail",
    "json card", "form password", "multipart password", "xml password",
    # of frames and exceptions
    "local password", "local in a list of pairs", "local printed pairs", "local bearer",
    "local jwt", "local private key", "local key of a mapping", "exception url", "exception e-mail",
    "exception sql parameter", "exception sql literal", "task local", "task argument of a frame",
    # of Sentry's scope
    "tag", "extra", "context", "breadcrumb message", "breadcrumb data", "user session",
    # of log lines
    "log argument", "log bearer", "log extra", "error log argument",
    # of outgoing calls
    "outgoing query", "outgoing header", "sql literal", "sql literal in double quotes",
    "redis argument", "redis key", "baggage",
    # of spans
    "attribute password", "attribute url", "attribute card", "attribute e-mail", "attribute jwt",
    "attribute list", "name of a span", "event of a span", "link of a span", "status of a span",
    "attribute key e-mail", "task attribute", "resource", "resource e-mail",
)  # fmt: skip

PLANTED = {place: _card(place) if "card" in place else _token(place) for place in PLACES}
"""By place: what nobody may see. An e-mail address, a JWT and so on has it inside."""


def jwt(place: str) -> str:
    """Return a JWT with the secret as its signature."""
    header, payload = (
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"HS256"}', b'{"sub":"1234"}')
    )
    return f"{header}.{payload}.{PLANTED[place]}"


def found_in(output: bytes) -> set[str]:
    """Return the places whose secret stands in ``output``."""
    return {place for place, secret in PLANTED.items() if secret.encode() in output}


def stop_scrubbing() -> None:
    """Take all scrubbing away, ours and sentry-sdk's, for the control run."""
    from sentry_sdk.scrubber import EventScrubber

    from otel_sentry.scrubbing import Scrubber

    Scrubber.attributes = lambda _, attributes, *__: dict(attributes)
    Scrubber.event = lambda _, event, *__: event
    Scrubber.text = Scrubber.statement = Scrubber.log_line = lambda _, text, *__: text
    Scrubber.description = lambda _, op, description, *__: description
    EventScrubber.scrub_event = lambda *_: None
