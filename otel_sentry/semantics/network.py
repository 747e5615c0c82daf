"""The server that a span talks to, or is (https://opentelemetry.io/docs/specs/semconv/general/)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otel_sentry.semantics._meaning import text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping


def extra_data(kind: SpanKind, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the server's address; by the old names a server is a host, a client has a peer."""
    if kind is SpanKind.SERVER or "http.host" in attributes or "net.host.name" in attributes:
        address = text(attributes, "server.address", "net.host.name", "http.host")
        port = whole(attributes, "server.port", "net.host.port")
    else:
        address = text(attributes, "server.address", "net.peer.name")
        port = whole(attributes, "server.port", "net.peer.port")
    if not address and kind is SpanKind.CLIENT:
        # The old conventions of HTTP clients have it in the URL only.
        address, port = _of_url(text(attributes, "url.full", "http.url"))
    data: dict[str, Any] = {}
    if address:
        data["server.address"] = _split_port(address)[0]
    if port is not None:
        data["server.port"] = port
    return data


def _of_url(url: str) -> tuple[str, int | None]:
    """Return host and port, if the URL names one."""
    authority = url.partition("://")[2]
    for end in "/?#":
        authority = authority.partition(end)[0]
    host, port = _split_port(authority.rpartition("@")[2])
    return host, whole({"port": port}, "port")


def _split_port(address: str) -> tuple[str, str]:
    """Take ``host:80`` and ``[::1]:80`` apart; contrib's ASGI middleware says ``host:None``."""
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        return host, rest[1:]
    host, colon, port = address.partition(":")
    return (host, port) if colon and ":" not in port else (address, "")
