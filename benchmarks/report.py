"""What the figures say: the bars, the tables and the plot. Pure functions of the JSON."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import product
from statistics import median, quantiles
from typing import Any

from peers import FLOORS, PEERS

Figures = dict[str, Any]
Spread = tuple[float, float, float]


@dataclass(frozen=True)
class Bar:
    """
    A limit that the project sets itself.

    Attributes:
        what: What is compared.
        value: The median, with the middle half of the rounds around it.
        least: At least this; most: at most this.
    """

    what: str
    value: Spread
    most: float
    least: float = float("-inf")

    @property
    def held(self) -> bool:
        """Whether the median is within the limits."""
        return self.least <= self.value[0] <= self.most

    @property
    def limit(self) -> str:
        """The limits, to be printed."""
        low = "" if self.least == float("-inf") else f"{self.least:g} to "
        return f"{low}{self.most:g}"


def spread(values: list[float]) -> Spread:
    """Return median, lower and upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return median(values), low, high


def ratio(ours: list[float], theirs: list[float], base: list[float] | None = None) -> Spread:
    """Return the ratio of each round, and what they spread; `base` is subtracted from both."""
    base = base or [0.0] * len(ours)
    return spread([(a - z) / (b - z) for a, b, z in zip(ours, theirs, base, strict=True)])


def bars(figures: Figures) -> list[Bar]:
    """Return the bars of the parts that were measured."""
    found: list[Bar] = []
    for part, make in _BARS.items():
        if part in figures:
            found += make(figures[part])
    return found


def _micro_bars(micro: Figures) -> list[Bar]:
    by_children = micro["1.0"]
    ten = by_children["10"]
    if not {"b", "d", "e", "h"} <= set(ten):
        return []
    total = {peer: it["total"] for peer, it in ten.items()}
    request = {peer: it["request"] for peer, it in ten.items()}
    per_span = [
        [value / (children + 1) for value in by_children[str(children)]["h"]["total"]]
        for children in (1000, 10)
    ]
    return [
        Bar("micro, request thread, (h) over (e), both less (b)", _added(request), 0.1),
        Bar("micro, all threads, (h) of (d)", ratio(total["h"], total["d"]), 0.6),
        Bar("micro, all threads, (h) of (e)", ratio(total["h"], total["e"]), 0.5),
        Bar("micro, (h), a span of 1,000 of a span of ten", ratio(*per_span), 1.2),
    ]


def _added(request: dict[str, list[float]]) -> Spread:
    return ratio(request["h"], request["e"], request["b"])


def _service_bars(service: Figures) -> list[Bar]:
    limits = (("1.0", "d", 0.8), ("1.0", "e", 0.7), ("0.1", "d", 1.0))
    found = [
        Bar(
            f"service, CPU of all processes, rate {rate}, (h) of ({peer})",
            ratio(service["cpu"][rate]["h"], service["cpu"][rate][peer]),
            most,
        )
        for rate, peer, most in limits
        if {"h", peer} <= set(service["cpu"].get(rate, ()))
    ]
    for rate, loop in service["open_loop"].items():
        found += [
            Bar(
                f"service, p99 at 60 % load, rate {rate}, (h) of ({peer})",
                ratio(loop["peers"]["h"]["p99"], loop["peers"][peer]["p99"]),
                most,
            )
            for peer, most in (("b", 1.05), ("d", 1.0))
            if peer in loop["peers"]
        ]
    return found


def _empty_dsn_bars(empty_dsn: Figures) -> list[Bar]:
    return [
        Bar("service, launcher with an empty DSN of (a)", spread(empty_dsn["ratios"]), 1.02, 0.98)
    ]


def _startup_bars(startup: Figures) -> list[Bar]:
    ours, stock = startup["ours"], startup["stock"]
    more = [a - b for a, b in zip(ours["rss"], stock["rss"], strict=True)]
    return [
        Bar("start-up, CPU, of the stock launcher", ratio(ours["cpu"], stock["cpu"]), 1.25),
        Bar("start-up, MiB more than the stock launcher", spread(more), 20),
    ]


def _memory_bars(memory: Figures) -> list[Bar]:
    more = (memory["ours"] - memory["otel"]) / 1024
    return [Bar("KiB of a buffered span, more than OpenTelemetry's own", (more, more, more), 2)]


_BARS = {
    "micro": _micro_bars,
    "service": _service_bars,
    "empty_dsn": _empty_dsn_bars,
    "startup": _startup_bars,
    "memory": _memory_bars,
}


def bars_table(figures: Figures) -> str:
    """Return the bars as Markdown."""
    rows = ["| | measured | middle half of the rounds | limit | |", "|---|--:|--:|--:|---|"]
    rows += [
        f"| {it.what} | {_cells(it.value)} | {it.limit} | {'held' if it.held else '**not held**'} |"
        for it in bars(figures)
    ]
    return "\n".join(rows) + "\n"


def _cells(value: Spread) -> str:
    return f"{value[0]:.3g} | {value[1]:.3g} to {value[2]:.3g}"


def floor_table(figures: Figures) -> str:
    """Return what those on which (h) stands take of the same; empty: not measured."""
    service = figures["service"]
    found = {}
    for rate, cpu in service["cpu"].items():
        for peer in FLOORS:
            if {"d", peer} <= set(cpu):
                what = f"CPU of all processes, rate {rate}, ({peer}) of (d)"
                found[what] = ratio(cpu[peer], cpu["d"])
    for rate, loop in service["open_loop"].items():
        p99 = {peer: it["p99"] for peer, it in loop["peers"].items()}
        for peer, other in product(FLOORS, "bd"):
            if {peer, other} <= set(p99):
                what = f"p99 at 60 % load, rate {rate}, ({peer}) of ({other})"
                found[what] = ratio(p99[peer], p99[other])
    rows = ["| | measured | middle half of the rounds |", "|---|--:|--:|"]
    rows += [f"| {what} | {_cells(measured)} |" for what, measured in found.items()]
    return "\n".join(rows) + "\n" if found else ""


def micro_table(figures: Figures) -> str:
    """Return CPU time of a trace as Markdown."""
    micro = figures["micro"]
    columns = [("1.0", "1"), ("1.0", "10"), ("1.0", "100"), ("1.0", "1000"), ("0.1", "10")]
    columns.append(("0.0", "10"))
    rows = [
        "| | " + " | ".join(f"{int(c):,} at {float(r):g}" for r, c in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for peer, label in PEERS.items():
        if peer in micro["1.0"]["10"]:
            cells = (micro[rate][children][peer] for rate, children in columns)
            pairs = (f"{median(it['request']):,.0f} / {median(it['total']):,.0f}" for it in cells)
            rows.append(f"| ({peer}) {label} | " + " | ".join(pairs) + " |")
    return "\n".join(rows) + "\n"


def service_table(figures: Figures) -> str:
    """Return CPU time of a request, as a multiple of that of the first contender, as Markdown."""
    cpu, loops = figures["service"]["cpu"], figures["service"]["open_loop"]
    head = [f"CPU at {float(rate):g}" for rate in cpu]
    head += [f"p50 / p99 ms at {float(rate):g}" for rate in loops]
    rows = ["| | " + " | ".join(head) + " |", "|---|" + "--:|" * len(head)]
    measured = _measured(figures)
    for peer in measured:
        label, cells = PEERS[peer], []
        for by_peer in cpu.values():
            value, low, high = ratio(by_peer[peer], by_peer[measured[0]])
            cells.append(f"{value:.2f} ({low:.2f} to {high:.2f})")
        for loop in loops.values():
            it = loop["peers"].get(peer)
            cells.append(f"{median(it['p50']):.1f} / {median(it['p99']):.1f}" if it else "")
        rows.append(f"| ({peer}) {label} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _measured(figures: Figures) -> list[str]:
    """Return the contenders of the service; the first is (a), where that is one of them."""
    return [peer for peer in PEERS if peer in next(iter(figures["service"]["cpu"].values()))]


def text(figures: Figures, found: list[Bar]) -> str:
    """Return all tables, and how many bars were held."""
    parts = []
    if "micro" in figures:
        parts.append("CPU µs of a trace, request thread / all threads, by children and trace rate:")
        parts.append(micro_table(figures))
    if "service" in figures:
        parts.append(f"CPU of a request, as a multiple of ({_measured(figures)[0]}):")
        parts.append(service_table(figures))
    parts.append(bars_table(figures))
    if "service" in figures and (floor := floor_table(figures)):
        parts += ["What (h) stands on, of the same:", floor]
    parts.append(f"{sum(bar.held for bar in found)} of {len(found)} bars held")
    return "\n".join(parts)


_WIDTH, _ROW, _LEFT, _RIGHT = 760, 22, 250, 60


def svg(figures: Figures) -> str:
    """Return a bar chart of the service's CPU time at each trace rate."""
    cpu = figures.get("service", {}).get("cpu", {})
    body, y = [], 0
    most = max((max(map(median, by_peer.values())) for by_peer in cpu.values()), default=1.0)
    for rate, by_peer in cpu.items():
        y += _ROW + 8
        title = f"service, CPU of a request, trace rate {float(rate):g}: multiple of (a)"
        body.append(f'<text x="8" y="{y - 6}" font-weight="bold">{title}</text>')
        base = median(by_peer.get("a", [most]))
        for peer, values in by_peer.items():
            value, low, high = spread(values)
            length, *ends = ((_WIDTH - _LEFT - _RIGHT) * it / most for it in (value, low, high))
            label = escape(PEERS[peer].replace("*", "").replace("`", ""))
            colour = "#6a4fbf" if peer in {"h", "i"} else "#b8b8c4"
            low_x, high_x = (_LEFT + end for end in ends)
            body += [
                f'<text x="8" y="{y + 15}">({peer}) {label}</text>',
                f'<rect x="{_LEFT}" y="{y + 3}" width="{length:.0f}" height="15" fill="{colour}"/>',
                f'<path d="M{low_x:.0f} {y + 10.5}H{high_x:.0f}" stroke="#222"/>',
                f'<text x="{high_x + 6:.0f}" y="{y + 15}">{value / base:.2f}</text>',
            ]
            y += _ROW
    style = "font-family:sans-serif;font-size:13px;fill:#222"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 12}"'
        f' style="{style}"><rect width="100%" height="100%" fill="#fff"/>'
        + "\n".join(body)
        + "</svg>\n"
    )
