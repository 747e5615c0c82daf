"""Judge what arrived at the far end: is it what the demo promises?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Event = dict[str, Any]

_FILTERED = "[Filtered]"
_ORDER = "POST /orders"
# Each task of an order, and how often it runs: the receipt fails once and is tried again.
_ORDER_TASKS = {"shop.charge_card": 1, "shop.pack_order": 1, "shop.send_receipt": 2}
_OPS = {"http": ("http",), "db": ("db",), "Redis": ("cache", "db.redis"), "queue": ("queue",)}
_ERRORS = ("ZeroDivisionError", "KeyError")


@dataclass(frozen=True)
class Findings:
    """
    What is to be said about the far end's events.

    Attributes:
        trace_id: The order's trace, if it arrived.
        errors: One line for each error: what it is, and the span that it belongs to.
        filtered: Where a secret was replaced, e.g. `request.headers.Authorization`.
        missing: What should be there and is not; empty if all is well.
        leaks: The secrets that arrived; empty if all is well.
    """

    trace_id: str | None
    errors: tuple[str, ...]
    filtered: tuple[str, ...]
    missing: tuple[str, ...]
    leaks: tuple[str, ...]


def judge(
    transactions: Sequence[Event],
    errors: Sequence[Event],
    bodies: Sequence[bytes],
    secrets: Mapping[str, str],
) -> Findings:
    """Compare what arrived with what the demo promises."""
    trace_id = next(
        (_trace(event).get("trace_id") for event in transactions if _is(event, "http", _ORDER)),
        None,
    )
    found = {place for event in (*errors, *transactions) for place in _filtered(event)}
    # What came with the request is what the demo has sent.
    places = sorted(found, key=lambda place: (not place.startswith("request."), place))
    missing = [
        *_missing_from_order([event for event in transactions if _in_trace(event, trace_id)]),
        *_missing_errors(errors, transactions),
        *_missing_times(transactions),
    ]
    if not places:
        missing.append(f"no {_FILTERED} anywhere, but secrets were sent")
    leaks = [
        label
        for label, secret in secrets.items()
        if any(secret.encode() in body for body in bodies)
    ]
    described = [_describe(event, transactions) for event in errors]
    return Findings(trace_id, tuple(described), tuple(places), tuple(missing), tuple(leaks))


def _missing_from_order(trace: Sequence[Event]) -> Iterator[str]:
    """Name what the one trace of web and worker lacks."""
    if not trace:
        yield f"no transaction {_ORDER!r} of the web application"
        return
    for task, times in _ORDER_TASKS.items():
        found = sum(_is(event, "queue", task) for event in trace)
        if found < times:
            yield f"{times - found} of {times} transactions of {task} in the order's trace"
    ops = {op for event in trace for op in _ops(event)}
    for label, prefixes in _OPS.items():
        if not any(op.startswith(prefixes) for op in ops):
            yield f"no {label} span in the order's trace"


def _missing_errors(errors: Sequence[Event], transactions: Sequence[Event]) -> Iterator[str]:
    for kind in _ERRORS:
        found = [event for event in errors if _exception(event)[0] == kind]
        if not found:
            yield f"no error event for the {kind}"
        for event in found:
            if _span_of(event, transactions) is None:
                yield f"the {kind} belongs to no span that arrived"


def _missing_times(transactions: Sequence[Event]) -> Iterator[str]:
    spans = [*transactions, *(span for event in transactions for span in event.get("spans") or ())]
    times = [span.get(name) for span in spans for name in ("start_timestamp", "timestamp")]
    # A number or ISO 8601, which begins with the year; Sentry refuses anything else.
    broken = sum(not str(time)[:1].isdigit() for time in times)
    if broken:
        yield f"{broken} of {len(times)} times of spans"


def _describe(event: Event, transactions: Sequence[Event]) -> str:
    kind, value = _exception(event)
    span = _span_of(event, transactions)
    place = f"in {span}" if span else "in no span that arrived"
    return f"{kind}: {value}  ({place}, trace {_trace(event).get('trace_id', '?')})"


def _span_of(event: Event, transactions: Sequence[Event]) -> str | None:
    """Name the span that the error happened in."""
    trace = _trace(event)
    for transaction in transactions:
        root = {**_trace(transaction), "description": transaction.get("transaction")}
        if root.get("trace_id") != trace.get("trace_id"):
            continue
        for span in (root, *(transaction.get("spans") or ())):
            if span.get("span_id") == trace.get("span_id") is not None:
                return f"{span.get('op')} {span.get('description')}"
    return None


def _trace(event: Event) -> Event:
    trace: Event = (event.get("contexts") or {}).get("trace") or {}
    return trace


def _in_trace(event: Event, trace_id: str | None) -> bool:
    return trace_id is not None and _trace(event).get("trace_id") == trace_id


def _is(event: Event, op: str, name: str) -> bool:
    return str(_trace(event).get("op")).startswith(op) and name in str(event.get("transaction"))


def _ops(event: Event) -> Iterator[str]:
    yield str(_trace(event).get("op"))
    for span in event.get("spans") or ():
        yield str(span.get("op"))


def _exception(event: Event) -> tuple[str, str]:
    values = (event.get("exception") or {}).get("values") or [{}]
    return str(values[-1].get("type")), str(values[-1].get("value"))


def _filtered(value: Any, path: str = "") -> Iterator[str]:
    """Yield the places at which the scrubber put its mark."""
    if isinstance(value, dict):
        for key, child in value.items():
            if key != "_meta":
                yield from _filtered(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for child in value:
            yield from _filtered(child, f"{path}[]")
    elif _FILTERED in str(value):
        yield path


def count_spans(transactions: Sequence[Event]) -> int:
    """Return the number of spans, the transactions' own included."""
    return sum(1 + len(event.get("spans") or ()) for event in transactions)
