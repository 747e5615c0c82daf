"""The OpenTelemetry distribution for Python teams that use Sentry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.__about__ import __version__

if TYPE_CHECKING:
    from otel_sentry.errors.api import (
        add_breadcrumb,
        capture_exception,
        capture_message,
        clear_user_context,
        flush,
        set_context,
        set_request_context,
        set_tag,
        set_user_context,
    )
    from otel_sentry.errors.init import init
    from otel_sentry.errors.test_endpoint import add_test_endpoint
    from otel_sentry.propagation import trace_propagation_meta

__all__ = [
    "__version__",
    "add_breadcrumb",
    "add_test_endpoint",
    "capture_exception",
    "capture_message",
    "clear_user_context",
    "flush",
    "init",
    "set_context",
    "set_request_context",
    "set_tag",
    "set_user_context",
    "trace_propagation_meta",
]

# Imported when first asked for: the launcher imports this module before it knows whether the bridge
# is on, and does not start the application if it fails to.
_MODULES = {
    "add_test_endpoint": "otel_sentry.errors.test_endpoint",
    "init": "otel_sentry.errors.init",
    "trace_propagation_meta": "otel_sentry.propagation",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = getattr(import_module(_MODULES.get(name, "otel_sentry.errors.api")), name)
    globals()[name] = value
    return value
