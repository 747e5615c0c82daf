"""Describe a request as Sentry has it, without its body, for events outside of an integration."""

from __future__ import annotations

from typing import Any

CONTEXT = "otel_sentry.request"
"""Where the request waits in a scope's contexts: one, whichever thread sets it, and replaced."""


def describe_request(request: Any) -> dict[str, Any]:
    """
    Return method, URL, headers and client of a Starlette request or WebSocket.

    Source: https://develop.sentry.dev/sdk/data-model/event-payloads/request/
    """
    url = request.url
    described: dict[str, Any] = {
        "method": request.scope.get("method"),
        "url": str(url.replace(query="", fragment="")),
        "query_string": url.query,
        "headers": {str(name): str(value) for name, value in request.headers.items()},
        "env": {"REMOTE_ADDR": request.client.host} if request.client else None,
    }
    return {name: value for name, value in described.items() if value}


def place_request(event: dict[str, Any]) -> None:
    """Move the request from the contexts to its place; what an integration says stands."""
    described = event.get("contexts", {}).pop(CONTEXT, None)
    if described is not None:
        event["request"] = {**described, **event.get("request", {})}
