"""Set the pipeline up for one test: the real one, with a transport that keeps, not sends."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from otel_sentry import pipeline
from otel_sentry.backends import sentry
from otel_sentry.errors.linking import remember_left_out
from otel_sentry.options import Options
from otel_sentry.sampling import build_sampler
from otel_sentry.settings import Settings
from otel_sentry.testing._captured import CapturedSentry
from otel_sentry.testing._clock import Clock, CountingIds
from otel_sentry.testing._globals import in_place, sentry_scopes
from otel_sentry.testing._instrument import instrumented_libraries
from otel_sentry.testing._keep import KeepingAdopter, Kept, keeping_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_sentry.backends import Bridge
    from otel_sentry.errors.hooks import Hooks

# Nobody listens there, and nobody is asked.
_DSN = "http://public@127.0.0.1:9/1"

# What a test wants unless it says otherwise: each trace, no word of the machine's own settings.
_BASE = {
    "SENTRY_TRACES_SAMPLE_RATE": "1",
    "SENTRY_ENVIRONMENT": "test",
    "SENTRY_RELEASE": "test",
}
_NEVER = frozenset(
    {"SENTRY_DSN", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER"}
    | {"SENTRY_TRACES_SAMPLE_RATE", "SENTRY_SAMPLE_RATE", "SENTRY_ENVIRONMENT"}
    | {"SENTRY_RELEASE"}
)


@contextmanager
def capturing(variables: Mapping[str, str]) -> Iterator[CapturedSentry]:
    """
    Keep what is sent to Sentry until the end of the block.

    Args:
        variables: Environment variables for the bridge, over those of the process.

    Raises:
        RuntimeError: The bridge is set up for the whole process already.
    """
    if pipeline.active_bridge() is not None:
        message = (
            "captured_sentry: otel_sentry is set up already in this process, and sends. Run plain"
            " `pytest`, without opentelemetry-instrument, and unset SENTRY_DSN where the"
            " application calls otel_sentry.init() when it is imported."
        )
        raise RuntimeError(message)
    environ = {name: value for name, value in os.environ.items() if name not in _NEVER}
    settings = replace(Settings.from_env({**environ, **_BASE, **variables}), dsn=_DSN)
    clock = Clock()
    kept = Kept(clock)
    with ExitStack() as stack:
        stack.enter_context(sentry_scopes())
        bridge = _build(settings, kept, stack)
        processor = sentry.build(bridge)
        stack.callback(processor.shutdown)
        sampler = build_sampler(settings, bridge.options, bridge.unsampled, remember_left_out)
        stack.enter_context(in_place(bridge, processor, sampler, CountingIds(), clock))
        stack.enter_context(instrumented_libraries(settings))
        yield CapturedSentry(kept, clock, processor.force_flush, stack)


def _build(settings: Settings, kept: Kept, stack: ExitStack) -> Bridge:
    """Build the bridge with clients that keep; the stack takes what is to be done at the end."""
    transport = keeping_in(kept)

    def adopter(hooks: Hooks, options: Options, connections: int) -> KeepingAdopter:
        made = KeepingAdopter(hooks, options, connections)
        made.transport = transport
        stack.callback(made.close)
        return made

    options = Options(sentry={"transport": transport, "spotlight": False, "server_name": "test"})
    bridge = pipeline.build_bridge(settings, options, adopter)
    if bridge.client is not None and bridge.client.options["transport"] is transport:
        stack.callback(bridge.client.close, timeout=0)  # its threads end
    return bridge
