from __future__ import annotations

from dataclasses import dataclass

import pytest
import sentry_sdk

from otel_sentry.cli.tail.receiver import Receiver
from otel_sentry.errors.adoption import Adopter
from otel_sentry.errors.hooks import Hooks
from otel_sentry.options import Options
from otel_sentry.scrubbing import Scrubber


@dataclass
class Far:
    """The far end, and what decides about what reaches it."""

    receiver: Receiver
    options: Options

    def errors(self):
        """Return the events that arrived, in the order they were captured."""
        sentry_sdk.flush(5)
        return sorted(self.receiver.errors(), key=lambda event: event["timestamp"])

    def lost(self):
        """Return how many errors sentry-sdk says it lost, by reason."""
        sentry_sdk.flush(5)
        counted = {}
        for item in self.receiver.items:
            if item.kind == "client_report":
                for entry in item.fields["discarded_events"]:
                    if entry["category"] == "error":
                        reason = entry["reason"]
                        counted[reason] = counted.get(reason, 0) + entry["quantity"]
        return counted


@pytest.fixture
def far():
    """Return the far end of this process: a real client of the application's, adopted."""
    options = Options()
    with Receiver() as receiver:
        Adopter(Hooks(Scrubber(), lambda _: {}, options), options, 2).start()
        with sentry_sdk.isolation_scope() as scope:
            scope.clear()  # of what other tests of this process have left
            sentry_sdk.init(receiver.dsn, auto_enabling_integrations=False, enable_logs=True)
            yield Far(receiver, options)
            sentry_sdk.get_client().close(5)
