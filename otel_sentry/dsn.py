"""Read a DSN, and show it without its key."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Sentry's keys have 32 hexadecimal digits; its tokens start with sntry and a letter.
_KEY = re.compile(r"[0-9a-fA-F]{32,}|sntry[a-z]_[\w+/=.-]+")


def mask_dsn(dsn: str) -> str:
    """Return ``dsn`` without its key: ``https://***@o1.ingest.sentry.io/42``."""
    scheme, _, rest = dsn.partition("://")
    if scheme not in {"http", "https"}:
        # Whatever stands there may be the key.
        return "***" if dsn else ""
    # Project and key may have changed places.
    shown = _KEY.sub("***", rest.rpartition("@")[2])
    return f"{scheme}://***@{shown}" if "@" in rest else f"{scheme}://***"


def check_dsn(text: str) -> str:
    """Check a DSN (https://develop.sentry.dev/sdk/foundations/transport/authentication/)."""
    url = urlsplit(text)
    project = url.path.rpartition("/")[2]
    port = url.port  # raises where it is no number
    if url.scheme not in {"http", "https"}:
        msg = "it does not start with http:// or https://"
        raise ValueError(msg)
    if not url.username:
        msg = "it has no public key before the @"
        raise ValueError(msg)
    if not url.hostname:
        msg = "it has no host"
        raise ValueError(msg)
    if not (project.isascii() and project.isdigit()):
        msg = "it does not end with a numeric project id"
        raise ValueError(msg)
    if port == 0:
        msg = "its port is 0"
        raise ValueError(msg)
    return text


def otlp_endpoint(dsn: str) -> tuple[str, str]:
    """
    Return where Sentry takes OTLP traces, and the value of the header ``x-sentry-auth``.

    Args:
        dsn: A DSN that :func:`check_dsn` took.

    Source: https://docs.sentry.io/concepts/otlp/direct/traces/
    """
    url = urlsplit(dsn)
    path, _, project = url.path.rpartition("/")
    host = url.netloc.rpartition("@")[2]
    endpoint = f"{url.scheme}://{host}{path}/api/{project}/integration/otlp/v1/traces/"
    return endpoint, f"sentry sentry_key={url.username}"
