"""
Be the first and the last to touch what a sentry-sdk client sends.

The hooks go into the options of a client, ours or one that the application made itself: link, drop
what is about ourselves, let the user's own hook run, scrub.
"""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from sentry_sdk.utils import get_before_send_log, get_before_send_metric

from otel_sentry._background import after_fork_in_child
from otel_sentry._logging import logger, never_raise
from otel_sentry._sentry_sdk import stop_streaming
from otel_sentry.capture import OURS
from otel_sentry.errors.filters import is_expected, is_logger, is_said_by_an_exception
from otel_sentry.errors.linking import link, unit_of_work
from otel_sentry.errors.once import Sent
from otel_sentry.errors.origin import unwrapped
from otel_sentry.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import SpanContext
    from sentry_sdk.client import BaseClient

    from otel_sentry.scrubbing import Scrubber

    Hook = Callable[[Any, Any], Any]

# What these say is about telemetry itself: sent as events it would feed on itself.
_OWN_LOGGERS = ("otel_sentry", "opentelemetry", "sentry_sdk")

# A line for each request, with its client's address; the event says the rest of it anyway.
_ACCESS_LOGS = ("uvicorn.access", "gunicorn.access", "hypercorn.access")

# Attributes of sentry-sdk's logs: what the text was made of.
_TEMPLATE = "sentry.message.template"
_PARAMETER = "sentry.message.parameter."

_TRACING_OPTIONS = ("traces_sample_rate", "traces_sampler")


class Hooks:
    """
    The hooks of one bridge.

    Args:
        scrubber: Touches every event last.
        dynamic_sampling_context: Returns that of the trace that a span context belongs to.
        options: The filters; they may change later.
    """

    def __init__(
        self,
        scrubber: Scrubber,
        dynamic_sampling_context: Callable[[SpanContext], Mapping[str, str]],
        options: Options | None = None,
    ) -> None:
        self._scrubber = scrubber
        self._options = options or Options()
        self._dynamic_sampling_context = dynamic_sampling_context
        self._clients: weakref.WeakSet[BaseClient] = weakref.WeakSet()
        self._free_lock()
        after_fork_in_child(self._free_lock)

    def _free_lock(self) -> None:
        # Re-entrant: a warning in install() may be captured, too.
        self._installing = threading.RLock()

    def install(self, client: BaseClient) -> bool:
        """Chain our hooks around those that the client's options name; ``False``: they are."""
        if client in self._clients:
            return False
        with self._installing:  # no event of another thread passes before the hooks are there
            if client in self._clients:
                return False
            self._install(client)
        return True

    def _install(self, client: BaseClient) -> None:
        options = client.options
        options["before_send"] = partial(self._error, options.get("before_send"), Sent())
        options["before_send_transaction"] = partial(
            self._transaction, options.get("before_send_transaction")
        )
        options["before_breadcrumb"] = partial(self._breadcrumb, options.get("before_breadcrumb"))
        options["before_send_log"] = partial(self._log, get_before_send_log(options))
        options["before_send_metric"] = partial(self._metric, get_before_send_metric(options))
        self._clients.add(client)
        stop_streaming(client)
        if any(options.get(name) is not None for name in _TRACING_OPTIONS):
            options.update(dict.fromkeys(_TRACING_OPTIONS))
            logger.warning(
                "sentry_sdk.init() of the application switches sentry-sdk's own tracing on; it is"
                " switched off, since OpenTelemetry traces. Remove %s there, and set"
                " SENTRY_TRACES_SAMPLE_RATE.",
                " and ".join(_TRACING_OPTIONS),
            )

    def _error(self, users: Hook | None, sent: Sent, event: Any, hint: Any) -> Any:
        if is_logger(event.get("logger"), (*_OWN_LOGGERS, *self._options.ignore_loggers)):
            return None
        if is_said_by_an_exception(event):
            return None
        captured = (hint.get("exc_info") or (None, None))[1]
        error = unwrapped(captured)
        if error is not captured and event.get("exception"):
            event["exception"]["values"][-1]["value"] = str(error)
        # Whatever an application's exceptions and local variables do to us, the error is sent.
        with never_raise("linking an error"):
            link(event, self._dynamic_sampling_context, error)
        unit = ""
        with never_raise("looking at an exception"):
            unit = unit_of_work(event, error)
            if error is not None and self._is_left_out(error, unit, sent):
                return None
        if users is not None:
            event = users(event, hint)
        if event is None:
            return None
        if error is not None:
            with never_raise("remembering an exception"):
                sent.add(error, unit)
        return self._scrubber.event(event)

    def _is_left_out(self, error: BaseException, unit: str, sent: Sent) -> bool:
        if is_expected(error, self._options):
            return True
        if sent.holds(error, unit):
            sent.add(error, unit)  # where it was sent outside of one: the next unit sends it again
            return True
        return False

    def _breadcrumb(self, users: Hook | None, crumb: Any, hint: Any) -> Any:
        ignored = (*_OWN_LOGGERS, *_ACCESS_LOGS, *self._options.ignore_loggers)
        if is_logger(crumb.get("category"), ignored):
            return None
        return crumb if users is None else users(crumb, hint)

    def _log(self, users: Hook | None, log: Any, hint: Any) -> Any:
        if is_logger(log["attributes"].get("logger.name"), _OWN_LOGGERS):
            return None
        if users is not None:
            log = users(log, hint)
        if log is None:
            return None
        said = log["attributes"]
        named = {key.removeprefix(_PARAMETER): value for key, value in said.items()}
        body = self._scrubber.log_line(str(log["body"]), said.get(_TEMPLATE), named)
        return {**self._metric(None, log, hint), "body": body}

    def _metric(self, users: Hook | None, metric: Any, hint: Any) -> Any:
        if users is not None:
            metric = users(metric, hint)
        if metric is None:
            return None
        return {**metric, "attributes": self._scrubber.attributes(metric.get("attributes") or {})}

    def _transaction(self, users: Hook | None, event: Any, hint: Any) -> Any:
        ours = hint.get(OURS)
        if ours is None:
            event = event if users is None else users(event, hint)
            return event if event is None else self._scrubber.event(event)
        if users is None:
            return event
        # What it gets is its own: translations of spans are remembered and shared.
        trace = event["contexts"]["trace"]
        trace["data"] = dict(trace["data"])
        event = users({**event, "spans": ours()}, hint)
        return event if event is None else self._scrubber.event(event)
