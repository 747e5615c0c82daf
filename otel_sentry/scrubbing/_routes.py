"""Find the secrets of a path where its route names them: ``/reset/{token}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from otel_sentry.scrubbing._marks import FILTERED, Removed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_sentry.scrubbing._keys import Keys

# Starlette's {name} and {name:path}, Flask's and Django's <name> and <path:name>.
_PARAMETER = re.compile(r"\{(\w{1,100})(?::(\w{1,40}))?\}|<(?:(\w{1,40}):)?(\w{1,100})>")

_MAX_ROUTES = 1024  # bound of the cache; beyond it routes are read anew
_MIN_SECRET = 4  # characters; a shorter one would be found in words that have nothing to do with it


class Routes:
    """
    What the parameters of routes say about paths.

    Args:
        keys: Decides which parameter is a secret.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[str, re.Pattern[str] | None] = {}  # bounded by _MAX_ROUTES

    def secrets(self, route: Any, paths: Iterable[Any]) -> set[str]:
        """Return what stands in ``paths`` for those parameters of ``route`` that are secrets."""
        if not isinstance(route, str) or ("{" not in route and "<" not in route):
            return set()
        if route in self._known:
            pattern = self._known[route]
        else:
            pattern = self._read(route)
            if len(self._known) < _MAX_ROUTES:
                self._known[route] = pattern
        if pattern is None:
            return set()
        found: set[str] = set()
        for path in paths:
            match = pattern.search(path) if isinstance(path, str) else None
            for secret in match.groups() if match is not None else ():
                found |= {secret, unquote(secret), quote(unquote(secret), safe="")}
        return {secret for secret in found if len(secret) >= _MIN_SECRET}

    def _read(self, route: str) -> re.Pattern[str] | None:
        """Return a pattern with a group a secret; ``None`` where the route has none."""
        parts: list[str] = []
        done = 0
        has_secret = False
        for match in _PARAMETER.finditer(route):
            name = match[1] or match[4]
            is_secret = bool(self._keys.rule_of(name))
            has_secret |= is_secret
            value = "[^?#]{1,512}" if (match[2] or match[3]) == "path" else "[^/?#]{1,512}"
            parts += (re.escape(route[done : match.start()]), f"({value})" if is_secret else value)
            done = match.end()
        if not has_secret:
            return None
        # A route may come with the method before it, and without the prefix it is mounted at.
        before = re.sub(r"^[A-Z]+\\ ", "", "".join(parts), count=1)
        return re.compile(rf"{before}{re.escape(route[done:])}/?(?=[?#]|\Z)", re.DOTALL)


def without(value: Any, secrets: Iterable[str]) -> Any:
    """Return a plain value without those texts, wherever in it they stand, keys included."""
    if isinstance(value, str):
        scrubbed = str(value)
        for secret in sorted(secrets, key=len, reverse=True):
            scrubbed = scrubbed.replace(secret, FILTERED)
        if scrubbed == value:
            return value
        return Removed(scrubbed, *getattr(value, "rules", ()), "route_parameter")
    if isinstance(value, dict):
        return {without(key, secrets): without(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [without(item, secrets) for item in value]
    return value
