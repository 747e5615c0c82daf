"""
HTTP servers and clients, and WebSocket servers.

Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and
https://develop.sentry.dev/sdk/telemetry/traces/modules/requests/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from opentelemetry.trace import SpanKind

from otel_sentry.semantics._meaning import FUNCTION, Meaning, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

# FastAPI says WS; contrib takes the missing method for an unknown one.
_WEBSOCKET_VERBS = ("WS", "HTTP", "GET")

# OpenTelemetry's word for a method that is not one of the known; spans are named "HTTP" then.
_OTHER = "_OTHER"
_ANY = "HTTP"

_MIN_ID = 16  # characters; shorter ones with letters in them are words, versions, languages


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:
    """Return what Sentry calls an HTTP or WebSocket span; ``None`` where it is none."""
    method = text(attributes, "http.request.method", "http.method")
    if kind is SpanKind.SERVER and _is_websocket(attributes):
        return _websocket(name, attributes)
    if not method or kind is SpanKind.PRODUCER or kind is SpanKind.CONSUMER:
        return None
    if method == _OTHER:
        method = _ANY
    if kind is SpanKind.CLIENT:
        return _client(name, method, attributes)
    # Contrib's ASGI middleware makes an internal span of a request inside another one.
    op = "http.server" if kind is SpanKind.SERVER else "http"
    return _server(name, op, method, attributes)


def _server(name: str, op: str, method: str, attributes: Mapping[str, Any]) -> Meaning:
    route = text(attributes, "http.route")
    path = path_of(attributes)
    if method == _ANY:
        name = _with_known_verb(name, route)
    by_route, by_path = f"{method} {route}", f"{method} {path}"
    aliases = (by_path,) if path else ()
    if _is_renamed(name, method, route, path):
        # A serverless function's span has the name of its handler.
        source = "component" if text(attributes, *FUNCTION) else "custom"
        if route and route != path:
            aliases = (by_route, *aliases)
        return Meaning(op, name, name, source, aliases)
    if route:
        return Meaning(op, by_route, by_route, _source_of(route, path), aliases)
    if path:
        return Meaning(op, by_path, by_path, "url", aliases)
    return Meaning(op, name or method, name or method, "url", aliases)


def _with_known_verb(name: str, route: str) -> str:
    """Return ``HTTP /items/{id}`` for ``BREW /items/{id}``: else any client could choose a name."""
    _, _, rest = name.partition(" ")
    return f"{_ANY} {rest}" if rest and (rest.startswith("/") or rest == route) else name


def _is_renamed(name: str, method: str, route: str, path: str) -> bool:
    """Return whether the application gave the name: no instrumentation would call it that."""
    if not name or name in (method, _ANY, route, path):
        return False
    verb, _, rest = name.partition(" ")
    if verb not in (method, _ANY):
        return True
    if rest in (method, route, path):
        return False
    if not rest.startswith("/") or not (route or path):
        return not rest.startswith("/")
    # WSGI: the name has the path decoded and without the prefix that the application is served at.
    return not (path and unquote(path).endswith(unquote(rest)))


def _source_of(route: str, path: str) -> str:
    """Return ``url`` for a route that is only the path: an id in it would make endless routes."""
    return "url" if route == path and any(map(_is_id, path.split("/"))) else "route"


def _is_id(segment: str) -> bool:
    return segment.isdecimal() or (
        len(segment) >= _MIN_ID and any(map(str.isdecimal, segment)) and "{" not in segment
    )


def _is_websocket(attributes: Mapping[str, Any]) -> bool:
    """Contrib tells by the scheme, FastAPI itself by the protocol, too."""
    return (
        text(attributes, "url.scheme", "http.scheme") in ("ws", "wss")
        or attributes.get("network.protocol.name") == "websocket"
    )


def _websocket(name: str, attributes: Mapping[str, Any]) -> Meaning:
    """Name a WebSocket by its route alone, as contrib does; FastAPI itself says ``WS /route``."""
    route = text(attributes, "http.route")
    path = path_of(attributes)
    verb, _, rest = name.partition(" ")
    aliases = (f"WEBSOCKET {route}",) if route else ()
    if path and path != route:
        aliases = (*aliases, path, f"WEBSOCKET {path}")
    is_given = name not in ("", route, path)
    if is_given and (verb not in _WEBSOCKET_VERBS or rest not in ("", route, path)):
        return Meaning("websocket.server", name, name, "custom", aliases)
    if route:
        return Meaning("websocket.server", route, route, _source_of(route, path), aliases)
    label = path or "WEBSOCKET"
    return Meaning("websocket.server", label, label, "url", aliases)


def _client(name: str, method: str, attributes: Mapping[str, Any]) -> Meaning:
    if name and name not in (method, "HTTP") and not name.startswith((f"{method} ", "HTTP ")):
        return Meaning("http.client", name, name, "custom")
    url = text(attributes, "url.full", "http.url")
    target = without_secrets(url) if url else path_of(attributes)
    label = f"{method} {target}" if target else name or method
    return Meaning("http.client", label, label, "url")


def path_of(attributes: Mapping[str, Any]) -> str:
    """Return the request's path without its query; empty where the span does not know it."""
    target = text(attributes, "url.path", "http.target") or text(attributes, "url.full", "http.url")
    return _split(target)[1]


def without_secrets(url: str) -> str:
    """Return ``url`` without credentials, query and fragment."""
    origin, path, _, _ = _split(url)
    return f"{origin}{path}"


def _split(url: str) -> tuple[str, str, str, str]:
    """
    Return origin (without credentials), path, query and fragment.

    Not ``urlsplit``: that raises on what is no URL, and here it costs half of the whole inference.
    """
    rest, hash_mark, fragment = url.partition("#")
    rest, question_mark, query = rest.partition("?")
    query, fragment = f"{question_mark}{query}", f"{hash_mark}{fragment}"
    if rest.startswith("/") and not rest.startswith("//"):
        return "", rest, query, fragment
    scheme, slashes, rest_of = rest.partition("//")
    if not slashes or not scheme.endswith(":"):
        return "", rest, query, fragment
    authority, slash, path = rest_of.partition("/")
    return f"{scheme}//{authority.rpartition('@')[2]}", f"{slash}{path}", query, fragment


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return method, status, query and fragment, the last two with their marks (``?``, ``#``)."""
    data: dict[str, Any] = {}
    code = whole(attributes, "http.response.status_code", "http.status_code")
    if code is not None:
        data["http.response.status_code"] = code
    method = text(attributes, "http.request.method", "http.method")
    if not method:
        return data
    data["http.request.method"] = method
    _, _, query, fragment = _split(text(attributes, "url.full", "http.url", "http.target"))
    query = query or f"?{text(attributes, 'url.query')}"
    if query != "?":
        data["http.query"] = query
    fragment = fragment or f"#{text(attributes, 'url.fragment')}"
    if fragment != "#":
        data["http.fragment"] = fragment
    return data
