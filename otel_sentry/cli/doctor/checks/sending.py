"""Send a test error and a test transaction the way the application would, if asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_sentry.cli.doctor._finding import Finding, error, ok

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

NAME = "otel-sentry doctor"
_TIMEOUT_SECONDS = 10.0
_OK = 200


class DoctorError(Exception):
    """What the test error is called in Sentry."""


def sending(situation: Situation) -> Iterator[Finding]:
    """Send, and say what to look for; without --send, nothing."""
    if not situation.send:
        return
    if not situation.settings.enabled:
        yield error("nothing was sent: the bridge is off", "set SENTRY_DSN")
        return
    trace_id, arrived, answers = _send(situation)
    if answers and all(answer == _OK for answer in answers):
        yield ok(f"Sentry took the test error and the test transaction ({len(answers)} requests)")
    elif answers:
        refusals = ", ".join(str(answer) for answer in answers if answer != _OK)
        yield error(f"Sentry did not take all of it: {refusals}", _FIXES.get(answers[-1], _LOOK))
    elif situation.settings.dsn:
        yield error("Sentry did not answer in time", _LOOK)
    if not arrived:
        yield error("not everything left in time", _LOOK)
    yield ok(
        f"look for the transaction {NAME!r} and the error DoctorError, linked to it, in trace"
        f" {trace_id[:16]}-{trace_id[16:]}"
    )


_LOOK = "SENTRY_DEBUG=true otel-sentry doctor --send"
_FIXES: dict[Any, str] = {
    401: "check the key of SENTRY_DSN: Sentry does not know it",
    403: "check the DSN: the key is disabled, or belongs to another project",
    404: "check host and project of SENTRY_DSN",
    429: "wait, or check the quota of the project: Sentry limits what it takes",
}


def _send(situation: Situation) -> tuple[str, bool, list[Any]]:
    """Return the trace's id, whether all left in time, and what Sentry answered."""
    import os
    from dataclasses import replace

    import sentry_sdk
    from opentelemetry import trace

    from otel_sentry import pipeline, processes
    from otel_sentry.options import Options
    from otel_sentry.transport import transport_class

    # This process exists for it: what a file or the launcher's flags set holds here, too.
    os.environ.update(situation.environ)
    answers: list[Any] = []
    base = transport_class(situation.settings.connections)

    class Watched(base):  # type: ignore[valid-type, misc] # a class made by a function
        def _request(self, *args: Any, **kwargs: Any) -> Any:
            try:
                response = super()._request(*args, **kwargs)
            except Exception as problem:
                answers.append(type(problem).__name__)
                raise
            answers.append(response.status)
            return response

    settings = replace(situation.settings, traces_sample_rate=1.0, sampling_rules="")
    pipeline.configure(settings, Options(sentry={"transport": Watched}))
    tracer = trace.get_tracer("otel_sentry.doctor")
    with tracer.start_as_current_span(NAME, attributes={"sentry.op": "test"}) as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
        try:
            _fail()
        except DoctorError as problem:
            sentry_sdk.capture_exception(problem)
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    arrived = flush is None or bool(flush(int(_TIMEOUT_SECONDS * 1000)))
    processes.flush()
    return trace_id, arrived, answers


def _fail() -> None:
    message = "a test, sent by: otel-sentry doctor --send"
    raise DoctorError(message)
