"""FastAPI: no span for each ASGI message; full routes below mounts; the root is remembered."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from otel_sentry._logging import never_raise
from otel_sentry.trace_state import SentryTraceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.trace import Span

    from otel_sentry.settings import Settings

_MAX_MOUNTS = 10


def options(settings: Settings | None = None) -> dict[str, Any]:  # noqa: ARG001 - as elsewhere
    """Return the keyword arguments of ``FastAPIInstrumentor.instrument()``."""
    return {"exclude_spans": ["receive", "send"], "server_request_hook": _on_request}


def instrumented(settings: Settings) -> None:  # noqa: ARG001 - the same for every library
    """
    Flush when the application shuts down.

    gunicorn's uvicorn worker ends by a signal with its default handler: neither ``atexit`` nor a
    handler of ours runs. FastAPI has no hook that is called at the end of every application.
    """
    import fastapi

    from otel_sentry.processes import flush
    from otel_sentry.sampling.callback import asgi_scope

    original = fastapi.FastAPI.__call__

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            token = asgi_scope.set(scope)  # for a traces_sampler
            try:
                await original(self, scope, receive, send)
            finally:
                asgi_scope.reset(token)
            return

        async def flush_and_send(message: Any) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                flush()
            await send(message)

        await original(self, scope, receive, flush_and_send)

    fastapi.FastAPI.__call__ = call  # type: ignore[method-assign]
    _leave_middlewares_alone()


def _leave_middlewares_alone() -> None:
    """
    Let sentry-sdk wrap no middleware for spans, which it would not send.

    It names errors there, too, by the route; they have the name of the trace's root.
    """
    integration: Any = sys.modules.get("sentry_sdk.integrations.starlette")
    if hasattr(integration, "_enable_span_for_middleware"):
        integration._enable_span_for_middleware = _as_it_is  # noqa: SLF001 - there is no option


def _as_it_is(middleware: Any) -> Any:
    return middleware


def _on_request(span: Span, scope: dict[str, Any]) -> None:
    from otel_sentry.errors.linking import remember_root

    with never_raise("naming a request"):
        # The span processor never sees a sampled-out root, but errors in it are linked, too.
        if not span.is_recording():
            span = remember_root(span)
        route = mounted_route(scope)
        if route:
            _rename(span, scope, route)


def _rename(span: Span, scope: dict[str, Any], route: str) -> None:
    from opentelemetry.util.http import sanitize_method

    method = sanitize_method(scope.get("method"))  # None: of a WebSocket
    if method == "_OTHER":
        method = "HTTP"  # else a client could choose the transaction's name
    name = f"{method} {route}" if method else route
    span.set_attribute("http.route", route)
    span.update_name(name)
    state = span.get_span_context().trace_state
    if isinstance(state, SentryTraceState) and state.dynamic_sampling_context is None:
        state.name_transaction = lambda: name


def mounted_route(scope: dict[str, Any]) -> str | None:
    """
    Return the whole route of a request to a mounted application: ``/sub/deep/{x}``.

    The instrumentation stops at the mount (``/sub``). ``None`` where nothing is mounted there, or
    what is mounted has no route for the request.
    """
    from starlette.routing import Match, Mount

    routes: Sequence[Any] = getattr(scope.get("app"), "routes", ())
    if not any(isinstance(route, Mount) for route in routes):
        return None
    here = dict(scope)
    prefix = ""
    for _ in range(_MAX_MOUNTS):
        for route in _flat(routes):
            match, child_scope = route.matches(here)
            if match is Match.FULL:
                break
        else:
            return None
        path = prefix + (getattr(route, "path", None) or "")
        mount = getattr(route, "original_route", route)
        if not isinstance(mount, Mount):
            return path if prefix else None
        prefix = path
        here.update(child_scope)
        routes = mount.routes or ()
    return None


def _flat(routes: Sequence[Any]) -> Iterable[Any]:
    """Yield the routes of included routers, too (FastAPI 0.137 nests them)."""
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:
        return routes
    flat: Iterable[Any] = iter_route_contexts(routes)
    return flat
