"""Make real spans with known ids and times, and look at what our processor makes of them."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_sentry.capture import EncodedTransaction
from otel_sentry.scrubbing import Scrubber
from otel_sentry.transactions import SentrySpanProcessor
from otel_sentry.transactions.assemble import Assembler
from otel_sentry.transactions.event import transaction_event
from otel_sentry.transactions.translate import Translator

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_sentry.transactions.event import Transaction
    from otel_sentry.transactions.tree import Tree


class CountingIds(IdGenerator):
    """Ids 1, 2, 3, ... for traces and spans; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def _next(self) -> int:
        with self._lock:
            self._last += 1
            return self._last

    def generate_span_id(self) -> int:
        return self._next()

    def generate_trace_id(self) -> int:
        return self._next()


def whole(transaction: Transaction | None) -> Any:
    """Return a transaction as one event, as it arrives; ``None`` where there is none."""
    if transaction is None:
        return None
    return json.loads(EncodedTransaction(transaction.event, transaction.spans).get_bytes())


class Sink:
    """The far end of the assembler: keeps transactions and what was counted as lost."""

    def __init__(self, is_noise: Callable[[ReadableSpan], bool] = lambda _: False) -> None:
        self.events: list[dict[str, Any]] = []
        self.contexts: list[Context] = []
        self.counted: list[tuple[str, int, int]] = []
        self._translate = Translator(Scrubber(), is_noise)

    def transaction(self, tree: Tree, context: Context) -> None:
        transaction = transaction_event(tree, self._translate)
        self.events.append(whole(transaction))
        self.counted += [(reason, 0, spans) for reason, spans in transaction.lost.items()]
        self.contexts.append(context)

    def lost(self, reason: str, *, transactions: int, spans: int) -> None:
        self.counted.append((reason, transactions, spans))

    @property
    def span_ids(self) -> list[str]:
        """The ids of all spans that were sent, roots included."""
        return [
            span_id
            for event in self.events
            for span_id in (
                event["contexts"]["trace"]["span_id"],
                *(span["span_id"] for span in event["spans"]),
            )
        ]

    @property
    def lost_spans(self) -> int:
        """How many spans were counted as lost."""
        return sum(spans for _, _, spans in self.counted)


class Tracing:
    """A tracer provider with our processor in front of a sink."""

    def __init__(
        self,
        *,
        grace: float = 0.02,
        max_spans: int = 1000,
        is_noise: Callable[[ReadableSpan], bool] = lambda _: False,
        **options: Any,
    ) -> None:
        self.sink = Sink(is_noise)
        self.assembler = Assembler(self.sink, grace=grace, **options)
        self.processor = SentrySpanProcessor(
            self.assembler, lambda _timeout: True, max_spans=max_spans, is_noise=is_noise
        )
        self.provider = TracerProvider(
            id_generator=CountingIds(),
            resource=Resource({"service.name": "shop"}),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer("tests", "1.0")

    def flush(self) -> list[dict[str, Any]]:
        """Return the transactions sent so far."""
        assert self.provider.force_flush(10_000)
        return self.sink.events


def span_id(span: Any) -> str:
    """Return a span's id as Sentry writes it."""
    return f"{span.get_span_context().span_id:016x}"
