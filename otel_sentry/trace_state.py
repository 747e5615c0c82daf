"""Carry what belongs to a whole trace: the sampling decision and the dynamic sampling context."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanContext, TraceState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RANDOM_BITS = 56
"""Bits of randomness of a trace (TraceState: Probability Sampling, OpenTelemetry specification)."""

_RANGE = 1 << RANDOM_BITS
_RV = re.compile(r"[0-9a-f]{14}")
_TH = re.compile(r"[0-9a-f]{1,14}")
_MILLION = 1_000_000
_MAX_VALUE = 256  # characters of a tracestate's value

# https://www.w3.org/TR/trace-context/#list and #tracestate-limits
_MAX_ENTRIES = 32
_MAX_HEADER = 512
_LONG_ENTRY = 128


class SentryTraceState(TraceState):
    """
    A ``tracestate`` that also remembers, inside this process, how the trace was decided.

    OpenTelemetry hands the object from the propagator to the sampler and from each span to its
    children, so all spans of a trace share one, and it dies with them. Other vendors' entries
    are kept as they came.
    """

    sampled: bool | None
    """The trace's decision; ``None``: not decided yet (a client that defers, or no root yet)."""

    sample_rate: float | None
    sample_rand: str | None
    """``0.000000`` to ``0.999999``; ``sample_rand < sample_rate`` exactly when sampled."""

    name_transaction: Callable[[], str | None] | None
    """Returns the name of the head's transaction, where it is good enough for the sampling context.

    Asked for at most once, and rarely on the request's time.
    """

    dynamic_sampling_context: dict[str, str] | None = None
    """Frozen once set: what came with the trace, or what its head first sent."""

    def __init__(
        self,
        entries: Sequence[tuple[str, str]] = (),
        *,
        sampled: bool | None,
        sample_rate: float | None = None,
        sample_rand: str | None = None,
        name_transaction: Callable[[], str | None] | None = None,
        dynamic_sampling_context: dict[str, str] | None = None,
    ) -> None:
        super().__init__(entries)
        self.sampled = sampled
        self.sample_rate = sample_rate
        self.sample_rand = sample_rand
        self.name_transaction = name_transaction
        if dynamic_sampling_context is not None:
            self.dynamic_sampling_context = dynamic_sampling_context

    def freeze(self, context: dict[str, str]) -> dict[str, str]:
        """Return the dynamic sampling context: ``context``, unless another thread was first."""
        # One atomic operation: what two threads send of one trace must be the same.
        frozen: dict[str, str] = self.__dict__.setdefault("dynamic_sampling_context", context)
        return frozen


class _Towards(SentryTraceState):
    """A trace's state, shared, beside the URL that a span without attributes is a request to."""

    __slots__ = ("url",)

    url: str


def towards(state: TraceState, attributes: Mapping[str, Any]) -> TraceState:
    """
    Return the state of a span that is not recorded and may be an outgoing request.

    Such a span keeps no attributes, and ``trace_propagation_targets`` must know where it goes.
    What belongs to the trace stays shared with its other spans.
    """
    url = outgoing_url(attributes)
    if not url or not isinstance(state, SentryTraceState):
        return state
    own = _Towards.__new__(_Towards)
    own.__dict__ = state.__dict__
    own.url = url
    return own


def outgoing_url(attributes: Mapping[str, Any]) -> str:
    """Return the URL of a CLIENT span; empty where it is no HTTP request."""
    url = attributes.get("url.full") or attributes.get("http.url")
    return url if isinstance(url, str) else ""


def url_towards(state: TraceState) -> str:
    """Return the URL that :func:`towards` put beside the state."""
    return state.url if isinstance(state, _Towards) else ""


def sampled_flag(span_context: SpanContext) -> bool | None:
    """Return the decision that this span context stands for; ``None``: undecided."""
    if span_context.trace_flags.sampled:
        return True
    state = span_context.trace_state
    return state.sampled if isinstance(state, SentryTraceState) else False


def with_ot(entries: Sequence[tuple[str, str]], ot: str) -> list[tuple[str, str]]:
    """Put OpenTelemetry's entry first, as W3C Trace Context asks of whoever changed it."""
    rest = [entry for entry in entries if entry[0] != "ot"]
    return [("ot", ot), *rest[: _MAX_ENTRIES - 1]] if ot else rest


def header_of(state: TraceState) -> str:
    """
    Write a tracestate of at most 512 characters, which every service passes on.

    As W3C Trace Context has it, entries of more than 128 characters go first, then the last ones.
    """
    header: str = state.to_header()
    if len(header) <= _MAX_HEADER:
        return header
    entries = [f"{key}={value}" for key, value in state.items()]
    size = len(header)
    for limit in (_LONG_ENTRY, 0):
        for entry in reversed(entries.copy()):
            if size > _MAX_HEADER and len(entry) > limit:
                entries.remove(entry)
                size -= len(entry) + 1
    return ",".join(entries)


def parse_ot(value: str) -> dict[str, str]:
    """Split OpenTelemetry's tracestate entry: ``th:c;rv:...`` → ``{"th": "c", "rv": "..."}``."""
    return dict(part.strip().split(":", 1) for part in value.split(";") if ":" in part)


def format_ot(ot: Mapping[str, str], th: str | None, rv: int | None) -> str:
    """
    Write OpenTelemetry's tracestate entry anew; a threshold that came from elsewhere goes.

    Args:
        ot: What came, as :func:`parse_ot` has it; other keys stay, where there is room.
        th: The threshold; ``None``: the trace was not kept, so it has none.
        rv: The explicit randomness; ``None``: the trace id's applies.
    """
    members = [] if th is None else [f"th:{th}"]
    members += [] if rv is None else [f"rv:{rv:014x}"]
    members += [f"{key}:{value}" for key, value in ot.items() if key not in {"th", "rv"}]
    while sum(map(len, members)) + len(members) - 1 > _MAX_VALUE:
        members.pop()
    return ";".join(members)


def explicit_randomness(ot: Mapping[str, str]) -> int | None:
    """Return ``rv`` of OpenTelemetry's tracestate entry; ``None``: absent or malformed."""
    rv = ot.get("rv", "")
    return int(rv, 16) if _RV.fullmatch(rv) else None


def implicit_randomness(trace_id: int) -> int:
    """Return the last 56 bits of a trace id, which W3C Trace Context wants random."""
    return trace_id & (_RANGE - 1)


def threshold(rate: float) -> int:
    """Return T; a trace is kept when its randomness is at least T."""
    # In whole numbers: exactly the randomness whose sample_rand is below the rate.
    return _RANGE - -(-round(round(rate, 6) * _MILLION) * _RANGE // _MILLION)


def threshold_text(rejection: int) -> str:
    """Write T as ``th`` has it: hexadecimal without trailing zeros."""
    return f"{rejection:014x}".rstrip("0") or "0"


def rate_of(th: str) -> float | None:
    """Return the rate that a threshold stands for; ``None``: absent or malformed."""
    if not _TH.fullmatch(th):
        return None
    return (_RANGE - int(th.ljust(RANDOM_BITS // 4, "0"), 16)) / _RANGE


def sample_rand_of(random_bits: int) -> str:
    """
    Return Sentry's ``sample_rand`` for OpenTelemetry's randomness.

    ``R >= T`` and ``sample_rand < rate`` are the same decision for every rate that is a multiple
    of 0.000001: ``sample_rand`` is 1 - R / 2^56, floored to six digits.
    """
    millionths = ((_RANGE - 1 - random_bits) * _MILLION) >> RANDOM_BITS
    return f"0.{millionths:06d}"


def rate_text(rate: float) -> str:
    """Write a rate as the dynamic sampling context has it: ``0.25``, ``1``."""
    return f"{round(rate, 6):.6f}".rstrip("0").rstrip(".")


def share_of(text: str | None) -> float | None:
    """Read a ``sample_rate`` or ``sample_rand``; ``None`` where it is not between 0 and 1."""
    try:
        share = float(text or "")
    except ValueError:
        return None
    return share if 0.0 <= share <= 1.0 else None


def filled_sample_rand(trace: str, rate: float | None, *, sampled: bool) -> str | None:
    """
    Return the ``sample_rand`` that a trace of an older SDK came without.

    It agrees with the decision that was made, and every service finds the same: it is drawn like
    sentry-sdk's (``tracing_utils._generate_sample_rand``), seeded with the trace id.

    Args:
        trace: The trace id in hexadecimal.
        rate: The head's; ``None``: unknown.
        sampled: The decision.

    Returns:
        ``None`` where no number agrees with both, as for a trace sampled at a rate of 0.
    """
    lower, upper = 0, _MILLION
    if rate is not None:
        border = int(rate * _MILLION)
        if not sampled and border / _MILLION < rate:
            border += 1
        lower, upper = (0, border) if sampled else (border, _MILLION)
    if lower >= upper:
        return None
    return f"0.{Random(trace).randrange(lower, upper):06d}"  # noqa: S311 - no secret


def randomness_of(sample_rand: str) -> int | None:
    """Return randomness that gives ``sample_rand`` back; ``None`` where it is no share of one."""
    share = share_of(sample_rand)
    if share is None or share == 1.0:
        return None
    millionths = min(round(share * _MILLION), _MILLION - 1)
    return _RANGE - 1 - -(-millionths * _RANGE // _MILLION)
