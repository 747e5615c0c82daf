"""Follow what a receiver takes, and print it: the loop of `otel-sentry tail`."""

from __future__ import annotations

import base64
import json
import queue
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from otel_sentry.cli.tail._pending import Pending
from otel_sentry.cli.tail._screen import Screen
from otel_sentry.cli.tail._text import clean, print_line, shorten
from otel_sentry.cli.tail.receiver import Item, PortTakenError, Receiver
from otel_sentry.cli.tail.trace import error_of
from otel_sentry.cli.tail.waterfall import fitted, print_trace

if TYPE_CHECKING:
    from otel_sentry.cli.tail._filters import Filters

# What was received and not printed yet; beyond it, the services wait.
_MAX_WAITING = 1_000

_MAX_LINE = 200

# A picture that changes more often than this is not read better, and is traffic over ssh.
_FRAME_SECONDS = 0.1

# Sessions come every minute and say nothing about a request.
_SILENT = frozenset({"session", "sessions"})

_POINT_HERE = """\
Listening on {url} (Ctrl-C ends). Start a service with

  SENTRY_DSN={dsn} SENTRY_TRACES_SAMPLE_RATE=1

or, for OTLP (OTEL_TRACES_EXPORTER=otlp),

  OTEL_EXPORTER_OTLP_ENDPOINT={url}
"""


def follow(*, port: int, as_json: bool, wait: float, filters: Filters) -> int:
    """Receive and print until Ctrl-C; return 2 if it cannot listen on the port."""
    # A str says why a request was refused.
    arrivals: queue.Queue[Item | str] = queue.Queue(_MAX_WAITING)
    receiver = Receiver(port, on_item=arrivals.put, on_refused=arrivals.put, keep=0)
    try:
        receiver.start()
    except OSError as error:
        print(
            f"otel-sentry tail: cannot listen: {_reason(error, port)};"
            " choose another port with --port, --port 0 picks a free one",
            file=sys.stderr,
        )
        return 2
    hint = _POINT_HERE.format(url=receiver.url, dsn=receiver.dsn)
    print(hint, file=sys.stderr if as_json else sys.stdout, flush=True)
    try:
        if as_json:
            _print_json(arrivals, filters)
        else:
            _Text(arrivals, wait, filters).follow()
    except KeyboardInterrupt:
        return 0
    finally:
        receiver.close()


def _reason(error: OSError, port: int) -> str:
    return str(error.strerror) if isinstance(error, PortTakenError) else f"port {port}: {error}"


def _print_json(arrivals: queue.Queue[Item | str], filters: Filters) -> NoReturn:
    while True:
        arrival = arrivals.get()
        if isinstance(arrival, str):
            _print_refusal(arrival)
        elif filters.admit_item(arrival):
            print(_as_json(arrival), flush=True)


def _as_json(item: Item) -> str:
    """Return the item as one line; a payload that is no JSON object becomes payload_base64."""
    data: dict[str, Any] = {
        "kind": item.kind,
        "received_at": item.received_at,
        "path": item.path,
        "envelope_headers": item.envelope_headers,
        "headers": item.headers,
    }
    if isinstance(item.payload, bytes):
        data["payload_base64"] = base64.b64encode(item.payload).decode()
    else:
        data["payload"] = item.payload
    try:
        return json.dumps(data)
    except RecursionError:  # nested as deep as could just be read
        return json.dumps({**data, "envelope_headers": {}, "headers": {}, "payload": {}})


class _Text:
    """Print traces when they fall quiet; in a terminal, draw them below while they arrive."""

    def __init__(self, arrivals: queue.Queue[Item | str], wait: float, filters: Filters) -> None:
        self._arrivals = arrivals
        self._filters = filters
        self._pending = Pending(wait)
        self._screen = Screen()

    def follow(self) -> NoReturn:
        """Print until interrupted."""
        while True:
            left = self._pending.seconds_left(time.monotonic())
            try:
                arrived = [self._arrivals.get(timeout=left)]
                while not self._arrivals.empty() and len(arrived) < _MAX_WAITING:
                    arrived.append(self._arrivals.get_nowait())
            except queue.Empty:
                arrived = []
            live = self._screen.is_live
            self._screen.erase()
            for arrival in arrived:
                self._take(arrival)
            self._print_due()
            if live:
                self._draw()
                time.sleep(_FRAME_SECONDS)

    def _take(self, arrival: Item | str) -> None:
        if isinstance(arrival, str):
            _print_refusal(arrival)
        elif not self._pending.add(arrival, time.monotonic()) and self._is_shown(arrival):
            print_line(shorten(clean(_describe(arrival)), _MAX_LINE, "..."))

    def _is_shown(self, item: Item) -> bool:
        return item.kind not in _SILENT and self._filters.admit_item(item)

    def _print_due(self) -> None:
        for trace, shown_before in self._pending.take_due(time.monotonic()):
            if self._filters.admit(trace):
                print_trace(trace, updated=shown_before)
                print(flush=True)

    def _draw(self) -> None:
        pictures = [
            fitted(trace, sys.stdout, updated=shown_before)
            for trace, shown_before in self._pending.waiting()
            if self._filters.admit(trace)
        ]
        self._screen.draw("\n\n".join(pictures))


def _print_refusal(reason: str) -> None:
    print_line(f"refused: {clean(reason)}", sys.stderr)


def _describe(item: Item) -> str:
    """Say in one line what is no part of a trace."""
    if item.kind == "error":
        error = error_of(item)
        parts = (error.type, error.value) if error else ()
        return f"error outside any trace: {': '.join(part for part in parts if part)}"
    if item.kind == "client_report":
        return f"the service dropped: {_discarded(item.fields) or 'nothing'}"
    if item.kind == "log":
        return f"log: {item.fields.get('level')}: {item.fields.get('body')}"
    if item.kind == "check_in":
        return f"check-in: {item.fields.get('monitor_slug')} {item.fields.get('status')}"
    return f"received: {item.kind}"


def _discarded(report: dict[str, Any]) -> str:
    """
    Return what a client report counts, as "3 transaction (sample_rate), 1 error (network_error)".

    Fact: https://develop.sentry.dev/sdk/telemetry/client-reports/
    """
    events = report.get("discarded_events")
    counts = (
        [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []
    )
    return ", ".join(
        f"{event.get('quantity')} {event.get('category')} ({event.get('reason')})"
        for event in counts
    )
