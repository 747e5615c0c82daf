"""Find the secrets of a path where its route names them: ``/reset/{token}``."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from otel_sentry.scrubbing._marks import FILTERED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_sentry.scrubbing._keys import Keys

    # A text that must stand there, or a pattern with a group a secret.
    Part = str | re.Pattern[str]

# Starlette's {name} and {name:path}, Flask's and Django's <name> and <path:name>.
_PARAMETER = re.compile(r"\{(\w{1,100})(?::(\w{1,40}))?\}|<(?:(\w{1,40}):)?(\w{1,100})>")
_METHOD = re.compile(r"^[A-Z]+ ")
_ORIGIN = re.compile(r"^[A-Za-z][\w+.-]{0,40}://[^/?#]*")
_BEHIND = re.compile(r"[?#]")

_MAX_ROUTES = 1024  # bound of the cache; beyond it routes are read anew
_MAX_ROUTE = 2000  # characters; nobody writes a longer one
_MIN_SECRET = 4  # characters; a shorter one would be found in texts that have nothing to do with it


class _Route(NamedTuple):
    """The segments of a route: those before one that may hold slashes, that one, and the rest."""

    before: Sequence[Part]
    path: Part | None
    behind: Sequence[Part]

    def secrets_of(self, path: str) -> Iterable[str]:
        """
        Return what stands in ``path`` for the secrets; in linear time, whatever the path is.

        The path may begin with a prefix that the route is mounted at.
        """
        path = _BEHIND.split(_ORIGIN.sub("", path), maxsplit=1)[0]
        segments = path.strip("/").split("/")
        end = len(segments) - len(self.behind)
        last = end - len(self.before) - (self.path is not None)
        behind = _matched(self.behind, segments[max(end, 0) :])
        if last < 0 or behind is None:
            return ()
        for start in range(0 if self.path is not None else last, last + 1):
            stop = start + len(self.before)
            before = _matched(self.before, segments[start:stop])
            if before is not None:
                rest = "/".join(segments[stop:end])
                path_itself = _matched([self.path], [rest]) if self.path is not None else ()
                return (*before, *(path_itself or ()), *behind)
        return ()


class Routes:
    """
    What the parameters of routes say about paths.

    Args:
        keys: Decides which parameter is a secret.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[str, _Route | None] = {}  # bounded by _MAX_ROUTES

    def secrets(self, route: Any, paths: Iterable[Any]) -> frozenset[str]:
        """Return what stands in ``paths`` for those parameters of ``route`` that are secrets."""
        if not isinstance(route, str) or ("{" not in route and "<" not in route):
            return frozenset()
        if route in self._known:
            known = self._known[route]
        else:
            known = self._read(route)
            if len(self._known) < _MAX_ROUTES:
                self._known[route] = known
        if known is None:
            return frozenset()
        found: set[str] = set()
        for path in paths:
            for secret in known.secrets_of(path) if isinstance(path, str) else ():
                found |= {secret, unquote(secret), quote(unquote(secret), safe="")}
        # What the route itself says is none.
        public = (route, FILTERED)
        return frozenset(
            one
            for one in found
            if len(one) >= _MIN_SECRET and not any(one in text for text in public)
        )

    def _read(self, route: str) -> _Route | None:
        """Return the route's segments; ``None`` where none of its parameters is a secret."""
        if len(route) > _MAX_ROUTE or not any(map(self._is_secret, _PARAMETER.finditer(route))):
            return None
        # A route may come with the method before it.
        path = _ORIGIN.sub("", _METHOD.sub("", route)).strip("/")
        segments = path.split("/")
        long = [position for position, one in enumerate(segments) if _is_path(one)]
        if not long:
            return _Route([self._part(segment) for segment in segments], None, ())
        first = long[0]
        # With two that may hold slashes nobody knows where the one ends: all of it is one.
        behind = segments[first + 1 :] if len(long) == 1 else []
        return _Route(
            [self._part(segment) for segment in segments[:first]],
            self._part("/".join(segments[first : len(segments) - len(behind)])),
            [self._part(segment) for segment in behind],
        )

    def _part(self, segment: str) -> Part:
        """
        Return the pattern of a segment.

        Of several parameters in it each is known where their values hold nothing of what stands
        between them; elsewhere the whole is a secret. Each quantifier ends where it must.
        """
        parameters = list(_PARAMETER.finditer(segment))
        if not parameters:
            return segment
        has_secret = any(map(self._is_secret, parameters))
        whole = "(.+)" if has_secret else ".+"
        between = [segment[one.end() : other.start()] for one, other in pairwise(parameters)]
        if has_secret and between and all(between) and not _is_path(segment):
            other = "".join(re.escape(text[0]) for text in between)
            values = [
                f"([^{other}]+)" if self._is_secret(one) else f"[^{other}]+" for one in parameters
            ]
            pairs = zip(values, [*map(re.escape, between), ""], strict=True)
            whole = f"(?:{''.join(map(''.join, pairs))}|{whole})"
        before = re.escape(segment[: parameters[0].start()])
        behind = re.escape(segment[parameters[-1].end() :])
        return re.compile(f"{before}{whole}{behind}", re.DOTALL)

    def _is_secret(self, parameter: re.Match[str]) -> bool:
        return bool(self._keys.rule_of(parameter[1] or parameter[4]))


def _is_path(segment: str) -> bool:
    return any("path" in (match[2], match[3]) for match in _PARAMETER.finditer(segment))


def _matched(parts: Sequence[Part], segments: Sequence[str]) -> list[str] | None:
    """Return the secrets of the segments; ``None`` where they are others than the route's."""
    found: list[str] = []
    for part, segment in zip(parts, segments, strict=False):
        if isinstance(part, str):
            if part != segment:
                return None
        else:
            match = part.fullmatch(segment)
            if match is None:
                return None
            found += filter(None, match.groups())
    return found
