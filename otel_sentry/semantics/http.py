"""HTTP servers and clients (https://opentelemetry.io/docs/specs/semconv/http/http-spans/)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.trace import SpanKind

from otel_sentry.semantics._meaning import Meaning, first

if TYPE_CHECKING:
    from collections.abc import Mapping


def meaning(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Meaning | None:
    """Return what Sentry calls an HTTP span; ``None`` where it is none."""
    method = first(attributes, "http.request.method", "http.method")
    scheme = first(attributes, "url.scheme", "http.scheme")
    websocket = scheme in {"ws", "wss"}
    if method is None and not (websocket and kind is SpanKind.SERVER):
        return None
    if kind is SpanKind.CLIENT:
        return _client(name, str(method), attributes)
    if kind is SpanKind.SERVER:
        op = "websocket.server" if websocket else "http.server"
        return _server(name, op, str(method or "WEBSOCKET"), attributes)
    return Meaning(op="http", description=name, name=name, source="custom")


def _server(name: str, op: str, method: str, attributes: Mapping[str, Any]) -> Meaning:
    route = first(attributes, "http.route")
    path = path_of(attributes)
    by_path = f"{method} {path}"
    aliases = (by_path,) if path else ()
    given = {method, f"HTTP {method}", "HTTP", by_path, path, route, f"{method} {route}"}
    if name not in given and not name.startswith(f"{method} /"):
        return Meaning(op, name, name, "custom", aliases)
    if route:
        by_route = f"{method} {route}"
        return Meaning(op, by_route, by_route, "route", aliases)
    if path:
        return Meaning(op, by_path, by_path, "url", aliases)
    return Meaning(op, name, name, "url", aliases)


def _client(name: str, method: str, attributes: Mapping[str, Any]) -> Meaning:
    url = first(attributes, "url.full", "http.url")
    text = f"{method} {without_secrets(str(url))}" if url else name
    return Meaning("http.client", text, text, "url")


def path_of(attributes: Mapping[str, Any]) -> str:
    """Return the request's path without its query; empty where the span does not know it."""
    path = first(attributes, "url.path", "http.target")
    if path is None:
        url = first(attributes, "url.full", "http.url")
        path = urlsplit(str(url)).path if url else ""
    return str(path).partition("?")[0]


def without_secrets(url: str) -> str:
    """Return ``url`` without credentials, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def extra_data(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response's status under the name that Sentry's pages read."""
    code = first(attributes, "http.response.status_code", "http.status_code")
    return {} if code is None else {"http.response.status_code": code}
