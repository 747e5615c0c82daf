"""Print what arrived at the far end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_sentry.cli._demo_findings import count_spans
from otel_sentry.cli._demo_visit import SECRETS
from otel_sentry.cli.tail.trace import build_traces
from otel_sentry.cli.tail.waterfall import print_trace

if TYPE_CHECKING:
    from otel_sentry.cli._demo_findings import Findings
    from otel_sentry.cli.tail.receiver import Receiver

_PLACES = 4


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def show_findings(findings: Findings, receiver: Receiver) -> None:
    """Show the order's trace, the errors, what was filtered, the counts, and what is missing."""
    for trace in build_traces(receiver.items):
        if trace.trace_id == findings.trace_id:
            say("\nThe order, from the web application to the worker:\n")
            print_trace(trace)
    if findings.errors:
        say("\nThe errors, each in the trace that it belongs to:\n")
    for error in findings.errors:
        say(f"    {error}")
    say("\nThe secrets:\n")
    for line in _secrets(findings):
        say(f"    {line}")
    transactions, errors = receiver.transactions(), receiver.errors()
    say(
        f"\nArrived: {len(transactions)} transactions with {count_spans(transactions)} spans, "
        f"{len(errors)} errors."
    )
    for what in findings.missing:
        say(f"MISSING: {what}.")
    if not findings.missing and not findings.leaks:
        say("\nThe same for your own application and project:\n")
        say("    SENTRY_DSN=https://<key>@<host>/<project> opentelemetry-instrument <command>")
        say("    otel-sentry demo --dsn https://<key>@<host>/<project>")


def _secrets(findings: Findings) -> list[str]:
    lines = [
        f"{label}: {'LEAKED' if label in findings.leaks else 'did not arrive'}" for label in SECRETS
    ]
    if findings.filtered:
        places = ", ".join(findings.filtered[:_PLACES])
        more = len(findings.filtered) - _PLACES
        lines.append(f"[Filtered] in {places}" + (f" and {more} more places" if more > 0 else ""))
    return lines
