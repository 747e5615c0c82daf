"""The journeys through us and our neighbours, and what becomes of a trace on each link."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from tests.end_to_end.neighbours.headers import Headers, numbers_agree
from tests.end_to_end.neighbours.kinds import HEADS
from tests.end_to_end.neighbours.tap import Tap, send

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.end_to_end.neighbours.fleet import Fleet, Record

US = "bridge"
SILENT = frozenset({"errors-only", "node-errors-only"})
"""Kinds that record nothing, and decide nothing."""

_SPAN = "00f067aa0ba902b7"
_CONTEXT = "sentry-trace_id={trace},sentry-public_key=k,sentry-environment=production"
_DECIDED = (
    "sentry-release=1,sentry-sample_rate=0.25,sentry-sample_rand={rand},sentry-sampled={said}"
)

# What the client at the start of a journey sends, as @sentry/browser does; "user" and "vendor"
# stand for what applications and other vendors add. A case without a row sends nothing: the first
# hop is the head of the trace.
CLIENT = {
    "sampled": ("-1", "01", _DECIDED.format(rand="0.100000", said="true")),
    "not sampled": ("-0", "00", _DECIDED.format(rand="0.900000", said="false")),
    "deferred": ("", "00", ""),
    "deferred, no traceparent": ("", None, ""),
}


def client_lines(case: str, trace: str) -> list[tuple[str, str]]:
    """Return the header lines of the client at the start."""
    if case not in CLIENT:
        return []
    flag, w3c, decided = CLIENT[case]
    context = _CONTEXT.format(trace=trace)
    lines = [("sentry-trace", f"{trace}-{_SPAN}{flag}")]
    lines += [("baggage", ",".join(filter(None, ("user=alice", context, decided))))]
    if w3c is not None:
        lines += [("traceparent", f"00-{trace}-{_SPAN}-{w3c}"), ("tracestate", "vendor=1")]
    return lines


@dataclass
class Journey:
    """
    A way through some neighbours.

    Attributes:
        case: What the client says (a key of :data:`CLIENT`), or what the head of the trace does:
            "keep", "drop", "open" (it makes a request and has decided nothing).
        stops: Kinds, or "celery:" and a kind; between two that speak HTTP stands a tap.
    """

    case: str
    stops: tuple[str, ...]
    marks: list[str] = field(default_factory=list)
    seen: list[Headers] = field(default_factory=list)
    """What arrived at each stop, and what left the last one."""

    def travel(self, fleet: Fleet, tap: Tap, number: int) -> set[str]:
        """Go, and return the marks of the taps that will see it."""
        plan, taps = [], set()
        for index, stop in enumerate((*self.stops, "end")):
            mark = f"j{number}s{index}z"
            # Only the first stop can be the head of the trace.
            case = self.case if index == 0 and self.case in HEADS else "passed"
            self.marks.append(mark)
            if not stop.startswith("celery:"):  # the worker tells what its message carried
                plan.append(f"{tap.url}/{case}/{mark}")
                taps.add(mark)
            if stop != "end":
                # The same kind with another rate, where it cannot tell requests apart.
                where = fleet.urls.get(f"{stop}-{case}") or fleet.urls.get(stop, stop)
                plan.append(f"{where}/{case}/{mark}")
        status = send(
            "|".join(plan), client_lines(self.case, f"{Random(number).getrandbits(128):032x}")
        )
        assert status == 200, f"{self}: {status}"
        return taps

    def gather(self, seen: dict[str, Headers], messages: dict[str, Headers]) -> None:
        """Keep what the taps saw of it."""
        for index, mark in enumerate(self.marks):
            # What a message carried is told by the next request.
            self.seen.append(seen[mark] if mark in seen else messages[self.marks[index + 1]])

    def link(self, fleet: Fleet, index: int) -> Link:
        """Return what became of the trace at a stop."""
        stop = self.stops[index]
        records = fleet.records(stop, self.marks[index])
        return Link(stop, self.case, self.seen[index], self.seen[index + 1], records)


@dataclass(frozen=True)
class Link:
    """What arrived at a stop, what left it and what it recorded."""

    stop: str
    case: str
    before: Headers
    after: Headers
    records: list[Record]

    def judge(self) -> dict[str, str]:
        """Say what is kept: "yes", "no", or "not sent" where the sender already said nothing."""
        continued = self._trace()
        told = {
            "trace": continued,
            "decision": self._decision() if continued == "yes" else continued,
            "sampling context": self._context(),
            "baggage": _kept("user" in self.before.baggage, "user" in self.after.baggage),
            "tracestate": _kept(
                bool(self.before.vendors), self.before.vendors == self.after.vendors
            ),
            "once": _yes(self.before.once and self.after.once and self.after.agree),
        }
        if self.case not in CLIENT or self.case == "deferred, no traceparent":
            del told["tracestate"]  # there is none at the start
        return told

    def _trace(self) -> str:
        if self.before.trace is None:
            return "not sent"
        traces = {self.after.trace, *(record.trace for record in self.records)}
        return _yes(traces == {self.before.trace})

    def _decision(self) -> str:
        said, says = self.before.sampled, self.after.sampled
        silent = self.stop in SILENT
        if silent or said is not None:
            return _yes(says is said and (silent or bool(self.records) is said))
        return _yes(says is not None and bool(self.records) is says)

    def _context(self) -> str:
        before, after = self.before.context, self.after.context
        if not after:
            return "no" if before else "not sent"
        own = {"sampled", "sample_rate", "sample_rand"} if self.before.sampled is None else set()
        same = all(_same(after.get(key), value) for key, value in before.items() if key not in own)
        sent = [record.context for record in self.records if record.context]
        agree = all(
            _same(one.get(key), after[key])
            for one in sent
            for key in ("trace_id", "sample_rate", "sample_rand", "sampled")
            if key in after
        )
        return _yes(same and agree and all(map(numbers_agree, [after, *sent])))


def _same(one: str | None, other: str) -> bool:
    """Compare numbers as numbers: 0.1 is 0.100000."""
    try:
        return one is not None and float(one) == float(other)
    except ValueError:
        return one == other


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def _kept(sent: bool, kept: bool) -> str:
    return _yes(kept) if sent else "not sent"


def cell(told: Iterable[tuple[str, str]]) -> str:
    """Sum up what was told of several cases: ``yes``, or ``yes; no: drop, open``."""
    cases: dict[str, list[str]] = {}
    for case, word in told:
        cases.setdefault(word, []).append(case)
    most, *rest = sorted(cases, key=lambda word: -len(cases[word])) or [""]
    return "; ".join([most, *(f"{word}: {', '.join(cases[word])}" for word in rest)])
