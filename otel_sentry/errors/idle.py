"""
Spare requests what sentry-sdk does for traces of its own, which are switched off.

Its integrations make a transaction for each request all the same, and the application may write on
it, and lose what it writes. Each request pays for what it would be made of: a random generator
seeded with its trace, tags, times, names of threads.
"""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk import Scope
from sentry_sdk.tracing import Transaction
from sentry_sdk.tracing_utils import has_tracing_enabled

from otel_sentry._logging import never_raise

if TYPE_CHECKING:
    from collections.abc import Callable

_Made: Any = Transaction
_SLOTS = [slot for cls in Transaction.__mro__ for slot in getattr(cls, "__slots__", ())]


class IdleTransaction(Transaction):
    """
    A transaction of sentry-sdk that goes nowhere, and is made when somebody looks at it.

    Args:
        make: Makes the transaction, given when it began (seconds since 1970).
        parent_sampled: The decision that came with the request.
        said: Its name and its source, where they are known.
    """

    __slots__ = ("_before", "_began", "_make")

    def __init__(
        self, make: Callable[[float], Any], parent_sampled: bool | None, said: dict[str, Any]
    ) -> None:
        self._make = make
        self._began = time.time()
        self.parent_sampled = parent_sampled
        self.sampled: bool | None = None
        self.sample_rate = None
        self._tags = {}
        for name, value in said.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """Be made: this is asked of what is not there yet, and keeps what is."""
        made = object.__getattribute__(self, "_make")(self._began)
        for slot in _SLOTS:
            if not _has(self, slot) and _has(made, slot):
                setattr(self, slot, getattr(made, slot))
        return object.__getattribute__(self, name)

    def _set_initial_sampling_decision(self, sampling_context: Any) -> None:  # noqa: ARG002
        self.sampled = False

    def to_json(self) -> dict[str, Any]:
        """Return what it holds; before it is decided only a sampler asks, and there is none."""
        return {} if self.sampled is None else super().to_json()

    def __enter__(self) -> Any:
        """Be the current span of the scope."""
        scope = sentry_sdk.get_current_scope()
        self._before = scope, scope.span
        scope.span = self
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave the scope to what was current before."""
        with never_raise("ending a transaction of sentry-sdk"):
            scope, before = self._before
            scope.span = before

    def update_active_thread(self) -> None:
        """Know no thread: it is asked for by what goes somewhere."""

    def set_http_status(self, http_status: int) -> None:
        """Have no status: as for the thread."""


def _has(transaction: Any, slot: str) -> bool:
    try:
        object.__getattribute__(transaction, slot)
    except AttributeError:
        return False
    return True


def make_transactions_idle() -> None:
    """Let what sentry-sdk makes of incoming headers be idle, where its tracing is off."""
    original = Scope.continue_trace
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def continue_trace(
        self: Any,
        environ_or_headers: dict[str, Any],
        op: str | None = None,
        name: str | None = None,
        source: str | None = None,
        origin: str = "manual",
    ) -> Any:
        if has_tracing_enabled(sentry_sdk.get_client().options):
            return original(self, environ_or_headers, op, name, source, origin)
        self.generate_propagation_context(environ_or_headers)
        trace = self._propagation_context
        said: dict[str, Any] = {"name": name} if name else {}
        if source:
            said["source"] = source

        def make(began: float) -> Any:
            return _Made(
                op=op,
                origin=origin,
                baggage=trace.baggage,
                trace_id=trace.trace_id,
                parent_span_id=trace.parent_span_id,
                same_process_as_parent=False,
                start_timestamp=began,
                **said,
            )

        return IdleTransaction(make, trace.parent_sampled, said)

    Scope.continue_trace = continue_trace  # type: ignore[method-assign]
