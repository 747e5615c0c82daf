"""What a signal's handler raises, while we are at work, reaches the application."""

from __future__ import annotations

import signal

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_sentry._logging import never_raise, report
from otel_sentry.transactions.collect import SentrySpanProcessor


class SoftTimeLimitExceeded(Exception):  # noqa: N818 - as billiard calls it
    """What Celery's handler of SIGUSR1 raises in a task."""


class Interrupted:
    """An assembler that the signal strikes in: the processor asks for it first."""

    @property
    def generation(self):
        """Return the generation, and be struck."""
        signal.raise_signal(signal.SIGUSR1)
        return 0


@pytest.fixture
def soft_limit():
    """Let SIGUSR1 raise what Celery lets it raise."""

    def strike(_signal, _frame):
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGUSR1, strike)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_soft_limit_that_strikes_in_our_code(soft_limit):
    """A task whose soft limit strikes while a span starts or ends is told so all the same."""
    tracer = TracerProvider(sampler=ALWAYS_ON).get_tracer("t")
    span = tracer.start_span("task")
    processor = SentrySpanProcessor(Interrupted(), flush=lambda _: True)
    with pytest.raises(SoftTimeLimitExceeded):
        processor.on_start(span)
    with pytest.raises(SoftTimeLimitExceeded), never_raise("trying"):
        signal.raise_signal(signal.SIGUSR1)


def test_nothing_else_is_raised(monkeypatch):
    """Any other failure of ours stays with us."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    report("trying", ValueError())
    with never_raise("trying"):
        raise ValueError
