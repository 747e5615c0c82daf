"""What sentry-sdk's client says about propagation, without importing sentry-sdk."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_sentry.settings import Settings


_NO_OPTIONS: dict[str, Any] = {}


def client_options() -> dict[str, Any]:
    """Return the options of the client that is active now; empty without one."""
    get_client = getattr(sys.modules.get("sentry_sdk"), "get_client", None)
    if get_client is None:
        return _NO_OPTIONS
    options: dict[str, Any] = get_client().options
    return options


def identity(settings: Settings, options: dict[str, Any]) -> dict[str, str]:
    """
    Return who makes a trace here: the part of its sampling context that stays with the client.

    A client that sends is asked first: the events beside the trace are its own.
    """
    client = options if options.get("dsn") else _NO_OPTIONS
    url = urlsplit(str(client.get("dsn") or settings.dsn))
    found = re.match(r"o(\d+)\.", url.hostname or "")
    parts = {
        "public_key": url.username,
        "org_id": options.get("org_id") or settings.org_id or (found[1] if found else ""),
        "release": client.get("release") or settings.release,
        "environment": client.get("environment") or settings.environment,
    }
    return {key: str(value) for key, value in parts.items() if value}


def may_continue(ours: str, theirs: str, *, strict: bool) -> bool:
    """
    Return whether a trace of organisation ``theirs`` goes on here.

    Source: https://develop.sentry.dev/sdk/foundations/trace-propagation/ (strict continuation).
    """
    if ours and theirs:
        return ours == theirs
    return not strict or ours == theirs


def may_receive(url: str, targets: Iterable[Any]) -> bool:
    """Return whether a request to ``url`` carries the trace: a target matches, or is part of it."""
    return any(_matches(target, url) for target in targets)


def _matches(target: Any, url: str) -> bool:
    try:
        return re.search(target, url) is not None
    except re.error:
        return target in url
    except TypeError:  # neither text nor pattern
        return False
