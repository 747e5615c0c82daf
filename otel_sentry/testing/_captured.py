"""What a test sent to Sentry, and assertions that say what was sent instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from otel_sentry.testing._clock import Clock
    from otel_sentry.testing._keep import Kept

    Event = dict[str, Any]
    Expected = str | re.Pattern[str] | None

_FLUSH_MILLIS = 10_000
_MAX_SHOWN = 20


class CapturedSentry:
    """
    What left for Sentry in this test, as plain dictionaries, scrubbed, oldest first.

    Reading waits until everything that ended so far has arrived.
    """

    def __init__(
        self, kept: Kept, clock: Clock, flush: Callable[[int], bool], stack: ExitStack
    ) -> None:
        self._kept = kept
        self._flush = flush
        self._stack = stack
        self.clock = clock
        """Stamps spans and errors: a millisecond a reading; ``clock.advance(0.5)`` lets it pass."""

    @property
    def errors(self) -> list[Event]:
        """Error and message events."""
        return self._of("event")

    @property
    def transactions(self) -> list[Event]:
        """Transaction events, each with its ``spans``."""
        return self._of("transaction")

    @property
    def spans(self) -> list[Event]:
        """The spans of all transactions; a transaction itself is none of them."""
        return [span for event in self.transactions for span in event["spans"]]

    @property
    def lost(self) -> dict[str, int]:
        """How much was not sent, by category and reason: ``{"error: before_send": 1}``."""
        self._flush(_FLUSH_MILLIS)
        return dict(self._kept.lost)

    def clear(self) -> None:
        """Forget what was sent so far."""
        self._flush(_FLUSH_MILLIS)
        self._kept.items.clear()
        self._kept.lost.clear()

    def instrument(self, app: Any) -> None:
        """
        Trace a FastAPI application that was made before the test: one that a module holds.

        Those made in the test are traced without it.
        """
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        from otel_sentry.instrumentation import options_for

        if getattr(app, "_is_instrumented_by_opentelemetry", False):
            return
        FastAPIInstrumentor.instrument_app(app, **options_for("fastapi"))
        app.middleware_stack = None  # built before it was instrumented, it is built anew
        self._stack.callback(_uninstrument, app)

    def assert_transaction(
        self, name: Expected = None, *, op: Expected = None, status: Expected = None
    ) -> Event:
        """
        Return the first transaction that is as described.

        Args:
            name: All of it, or a compiled pattern that is found in it; ``None``: any.
            op: As ``name``.
            status: As ``name``: ``ok``, ``internal_error``, ...

        Raises:
            AssertionError: There is none; it says what was sent instead.
        """
        __tracebackhide__ = True
        return self._found("transaction", {"name": name, "op": op, "status": status})

    def assert_span(
        self, description: Expected = None, *, op: Expected = None, status: Expected = None
    ) -> Event:
        """Return the first span that is as described; else as :meth:`assert_transaction`."""
        __tracebackhide__ = True
        return self._found("span", {"description": description, "op": op, "status": status})

    def assert_error(
        self,
        type: Expected = None,  # noqa: A002 - as the exception's in Sentry's event
        value: Expected = None,
        *,
        level: Expected = None,
        transaction: Expected = None,
    ) -> Event:
        """
        Return the first error or message that is as described; else as :meth:`assert_transaction`.

        Args:
            type: The exception's class name; of a message: empty.
            value: The exception's or the message's text.
            level: ``error``, ``warning``, ...
            transaction: The name of the transaction it happened in.
        """
        __tracebackhide__ = True
        expected = {"type": type, "value": value, "level": level, "transaction": transaction}
        return self._found("error", expected)

    def assert_nothing_sent(self) -> None:
        """
        Check that neither an error nor a transaction was sent.

        Raises:
            AssertionError: Something was; it says what.
        """
        __tracebackhide__ = True
        if self.errors or self.transactions:
            message = f"Nothing was expected to be sent.\n{self._sent()}"
            raise AssertionError(message)

    def _of(self, kind: str) -> list[Event]:
        self._flush(_FLUSH_MILLIS)
        return self._kept.of(kind)

    def _found(self, kind: str, expected: Mapping[str, Expected]) -> Event:
        __tracebackhide__ = True
        wanted = {name: value for name, value in expected.items() if value is not None}
        candidates = {
            "transaction": lambda: self.transactions,
            "span": lambda: self.spans,
            "error": lambda: self.errors,
        }[kind]()
        for event in candidates:
            if not _differences(wanted, _FACTS[kind](event)):
                return event
        raise AssertionError(self._missing(kind, wanted, candidates))

    def _missing(self, kind: str, wanted: Mapping[str, Any], candidates: list[Event]) -> str:
        described = ", ".join(f"{name}={_shown(value)}" for name, value in wanted.items())
        lines = [f"No {kind}{f' with {described}' if described else ''} was sent."]
        if candidates and wanted:
            facts = [_FACTS[kind](event) for event in candidates]
            closest = min(facts, key=lambda one: len(_differences(wanted, one)))
            lines.append("The closest one:")
            lines += [
                f"  {name:<12} {_compared(expected, closest[name])}"
                for name, expected in wanted.items()
            ]
        return "\n".join([*lines, self._sent()])

    def _sent(self) -> str:
        """Return what was sent, a line each."""
        lines = []
        for event in self.transactions:
            facts = _FACTS["transaction"](event)
            lines.append(f"  transaction  {facts['op']} {facts['name']} [{facts['status']}]")
            for span in event["spans"]:
                facts = _FACTS["span"](span)
                lines.append(f"    span       {facts['op']} {facts['description']}")
        for event in self.errors:
            facts = _FACTS["error"](event)
            text = ": ".join(part for part in (facts["type"], facts["value"]) if part)
            where = f" (in {facts['transaction']})" if facts["transaction"] else ""
            lines.append(f"  {facts['level']:<12} {text}{where}")
        if len(lines) > _MAX_SHOWN:
            lines[_MAX_SHOWN:] = [f"  ... {len(lines) - _MAX_SHOWN} more"]
        lost = [f"  not sent     {count} {reason}" for reason, count in self._kept.lost.items()]
        return "\n".join(["Sent:", *(lines or ["  nothing"]), *lost])


def _differences(wanted: Mapping[str, Any], facts: Mapping[str, str]) -> list[str]:
    return [name for name, expected in wanted.items() if not _matches(expected, facts[name])]


def _matches(expected: str | re.Pattern[str], found: str) -> bool:
    if isinstance(expected, re.Pattern):
        return expected.search(found) is not None
    return expected == found


def _compared(expected: Any, found: str) -> str:
    if _matches(expected, found):
        return f"{found!r}, as expected"
    return f"expected {_shown(expected)}, sent {found!r}"


def _shown(expected: Any) -> str:
    return f"/{expected.pattern}/" if isinstance(expected, re.Pattern) else repr(expected)


def _of_transaction(event: Event) -> dict[str, str]:
    trace = event["contexts"]["trace"]
    return {
        "name": event.get("transaction") or "",
        "op": trace.get("op") or "",
        "status": trace.get("status") or "",
    }


def _of_span(span: Event) -> dict[str, str]:
    return {name: span.get(name) or "" for name in ("description", "op", "status")}


def _of_error(event: Event) -> dict[str, str]:
    exceptions = (event.get("exception") or {}).get("values") or [{}]
    entry = event.get("logentry") or {}
    message = event.get("message") or entry.get("formatted") or entry.get("message") or ""
    return {
        "type": exceptions[-1].get("type") or "",
        "value": exceptions[-1].get("value") or message,
        "level": event.get("level") or "error",
        "transaction": event.get("transaction") or "",
    }


def _uninstrument(app: Any) -> None:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.uninstrument_app(app)


_FACTS: dict[str, Callable[[Event], dict[str, str]]] = {
    "transaction": _of_transaction,
    "span": _of_span,
    "error": _of_error,
}
