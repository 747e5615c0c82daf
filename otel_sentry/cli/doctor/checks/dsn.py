"""The DSN: where everything goes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from otel_sentry.cli.doctor._finding import Finding, error, ok, warning
from otel_sentry.cli.doctor._network import endpoint_findings
from otel_sentry.dsn import check_dsn, mask_dsn
from otel_sentry.variables import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

_VARIABLE = next(one for one in VARIABLES if one.name == "SENTRY_DSN")
_COPY = f"set SENTRY_DSN to {_VARIABLE.fix}"
_KEY = re.compile(r"[0-9a-fA-F]{32}")
_HOSTED = re.compile(r"(?:^|\.)sentry\.io$")

# What is typed instead of a DSN: how it looks, what it is, what mends it. The first match counts.
_SLIPS: tuple[tuple[str, str, str], ...] = (
    (r".*[<>]", "it holds a placeholder in angle brackets", _COPY),
    (r"sntry[a-z]_", "it is an auth token, which is a secret and no DSN", _COPY),
    (r"[\"'].*|.*[\"']$", "it holds quotes", "remove the quotes around the value"),
    (r"\S*\s", "it holds white space", "remove the white space in the value"),
    (r"SENTRY_DSN=", "it holds its own name", "remove the second SENTRY_DSN="),
    (
        r"https?://\d+(?::[^@]*)?@[^/]+/[0-9a-fA-F]{32}$",
        "project and key have changed places",
        "write https://<key>@<host>/<project>",
    ),
    (
        r"https?://[^@/]+/[0-9a-fA-F]{32}(?:@|/)",
        "host and key have changed places",
        "write https://<key>@<host>/<project>",
    ),
    (r"https?://:[^@]*@", "the public key before the colon is missing", _COPY),
    (r"https?://[^@]*$", "the key before the @ is missing", _COPY),
    (
        r"https?://.*@.*/[^/]*[^/\d][^/]*/?$",
        "it does not end with the number of the project",
        "end it with the number, not the name, of the project",
    ),
    (r"[^:/@]+@", "the scheme is missing", "start it with https://"),
    (r"(?!https?://)[\w+.-]+:/", "its scheme is neither http nor https", "start it with https://"),
)


def dsn(situation: Situation) -> Iterator[Finding]:
    """Is it one, is it the right kind, and does its host answer?"""
    text = situation.environ.get("SENTRY_DSN", "").strip()
    if not text:
        yield warning("SENTRY_DSN is not set: nothing is sent to Sentry", _COPY)
        return
    for pattern, reason, fix in _SLIPS:
        if re.match(pattern, text):
            yield error(f"SENTRY_DSN is ignored: {reason}", fix)
            return
    try:
        check_dsn(text)
    except ValueError as problem:
        reason = str(problem) if str(problem).startswith("it") else "it cannot be read"
        yield error(f"SENTRY_DSN is ignored: {reason}", _COPY)
        return
    yield from _doubts(text) or [ok(f"SENTRY_DSN={mask_dsn(text)}")]
    yield from endpoint_findings("Sentry", text, situation)


def _doubts(text: str) -> list[Finding]:
    url = urlsplit(text)
    host, key = url.hostname or "", url.username or ""
    doubts = []
    if url.password:
        doubts.append(
            warning(
                "SENTRY_DSN holds a secret key, which Sentry has not needed since 2018",
                "remove the colon and what follows it, up to the @",
            )
        )
    if not _HOSTED.search(host):
        return doubts
    if not _KEY.fullmatch(key):
        doubts.append(
            warning(
                f"the key of SENTRY_DSN={mask_dsn(text)} has not the 32 hexadecimal digits that"
                f" those of {host} have",
                _COPY,
            )
        )
    if url.scheme == "http":
        doubts.append(warning(f"SENTRY_DSN sends unencrypted to {host}", "start it with https://"))
    return doubts
