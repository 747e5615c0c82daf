"""
Put ours in place of what OpenTelemetry and sentry-sdk have one of in a process, and put it back.

All that touches names which are not theirs to offer stands here. OpenTelemetry sets a tracer
provider once and never again (https://github.com/open-telemetry/opentelemetry-python/issues/1276);
its own tests do what :func:`_provider` does. One provider serves all tests, because tracers that
modules of the application keep are bound to the first one they meet: what changes between tests is
what stands behind it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import opentelemetry.sdk.trace as sdk
import sentry_sdk
from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from sentry_sdk.scope import remove_external_propagation_context

from otel_sentry import pipeline
from otel_sentry.errors import linking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.sdk.trace.sampling import SamplingResult

    from otel_sentry.backends import Bridge

_providers: list[TracerProvider] = []  # at most one


class _Behind:
    """What stands behind the provider; between tests nothing does, and no span is recorded."""

    processor: SpanProcessor = SpanProcessor()
    sampler: Sampler = ALWAYS_OFF
    ids: IdGenerator = RandomIdGenerator()


_behind = _Behind()


class _Processor(SpanProcessor):
    def on_start(self, span: Span, parent_context: Any = None) -> None:
        _behind.processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        _behind.processor.on_end(span)


class _Sampler(Sampler):
    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return _behind.sampler.should_sample(*args, **kwargs)

    def get_description(self) -> str:
        return _behind.sampler.get_description()


class _Ids(IdGenerator):
    def generate_span_id(self) -> int:
        return _behind.ids.generate_span_id()

    def generate_trace_id(self) -> int:
        return _behind.ids.generate_trace_id()


@contextmanager
def in_place(
    bridge: Bridge,
    processor: SpanProcessor,
    sampler: Sampler,
    ids: IdGenerator,
    clock: Callable[[], int],
) -> Iterator[None]:
    """Let a bridge be the one of this process."""
    with ExitStack() as stack:
        stack.enter_context(_attributes(trace, **_provider()))
        stack.enter_context(_attributes(_behind, processor=processor, sampler=sampler, ids=ids))
        # Spans are stamped by a name of this module; the SDK has no setting for it.
        stack.enter_context(_attributes(sdk, time_ns=clock))
        stack.callback(propagate.set_global_textmap, propagate.get_global_textmap())
        propagate.set_global_textmap(bridge.propagator)
        stack.callback(remove_external_propagation_context)
        linking.start_linking()
        pipeline._active.append(bridge)  # noqa: SLF001 - otel_sentry.init() finds it
        stack.callback(pipeline._active.remove, bridge)  # noqa: SLF001
        yield


@contextmanager
def sentry_scopes() -> Iterator[None]:
    """Give the test scopes of its own, and put the client back that was there before it."""
    scope = sentry_sdk.get_global_scope()
    client, base = scope.client, list(linking._base_scope)  # noqa: SLF001
    try:
        with sentry_sdk.isolation_scope():
            yield
    finally:
        scope.set_client(client)
        linking._base_scope[:] = base  # noqa: SLF001


def _provider() -> dict[str, Any]:
    """Return the attributes of ``opentelemetry.trace`` that make our provider the global one."""
    if not _providers:
        disabled = os.environ.pop("OTEL_SDK_DISABLED", None)  # read by the constructor
        try:
            provider = TracerProvider(
                sampler=_Sampler(),
                id_generator=_Ids(),
                resource=Resource.create({"service.instance.id": "test"}),
                shutdown_on_exit=False,
            )
        finally:
            if disabled is not None:
                os.environ["OTEL_SDK_DISABLED"] = disabled
        provider.add_span_processor(_Processor())
        _providers.append(provider)
    once: Any = type(trace._TRACER_PROVIDER_SET_ONCE)()  # noqa: SLF001
    once.do_once(lambda: None)  # the application's own attempt to set one is refused, as ever
    return {"_TRACER_PROVIDER": _providers[0], "_TRACER_PROVIDER_SET_ONCE": once}


@contextmanager
def _attributes(owner: Any, **values: Any) -> Iterator[None]:
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
