"""A Celery application whose tasks fail, one way or another."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import sentry_sdk
from celery import Celery, Task, chain, chord, group
from celery.exceptions import Ignore, Reject

import otel_sentry

SECRET = "Zq9xSekrit7Wv"

if os.environ.get("OWN_INIT"):
    sentry_sdk.init(
        traces_sample_rate=1.0, before_send=lambda event, _: {**event, "release": "own"}
    )
if os.environ.get("LATE_INIT"):
    otel_sentry.init(
        is_noisy_error=lambda error: "noise" in str(error),
        monitor_beat_tasks=True,
        exclude_beat_tasks=["left out"],
    )

url = os.environ.get("JOBS_REDIS_URL", "redis://localhost:6379/0")
app = Celery("errors_jobs", broker=url, backend=url)
app.conf.broker_connection_retry_on_startup = True
app.conf.task_routes = {"errors.routed": {"queue": "invoices"}}
log = logging.getLogger("jobs")

# Due at once; Sentry takes no schedule below a minute.
DUE = {"schedule": 60, "last_run_at": datetime.now(timezone.utc) - timedelta(hours=1)}
app.conf.beat_schedule = {
    "fine": {"task": "errors.fine", **DUE},
    "broken": {"task": "errors.plain", "args": (1, SECRET), **DUE},
    "left out": {"task": "errors.fine", **DUE},
}


class Starts(Task):
    """A task that fails before it runs."""

    def before_start(self, *_: object) -> None:
        raise ValueError("before it started")


class UnpicklableError(Exception):
    """Holds what cannot be pickled."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.function = lambda: None


class HarmlessError(Exception):
    """One of a task's ``throws``."""


NOT_READY = HarmlessError("not ready")


@app.task(name="errors.fine")
def fine(*_: object) -> int:
    return 1


@app.task(name="errors.plain")
def plain(card: int = 0, token: str = "", *, password: str = "") -> None:
    raise ValueError("plain")


@app.task(name="errors.noise")
def noise() -> None:
    raise ValueError("noise")


@app.task(name="errors.routed", acks_late=True)
def routed() -> None:
    raise ValueError("routed")


@app.task(name="errors.after", base=Starts)
def after() -> None:
    """Never runs."""


@app.task(bind=True, name="errors.retried", max_retries=2)
def retried(self: Task) -> None:
    try:
        raise ValueError("flaky")  # noqa: TRY301 - it is what is tested
    except ValueError as error:
        raise self.retry(exc=error, countdown=0) from error


@app.task(bind=True, name="errors.recovers", max_retries=2)
def recovers(self: Task) -> None:
    if not self.request.retries:
        raise self.retry(exc=ValueError("flaky"), countdown=0)


@app.task(
    name="errors.retried_by_itself",
    autoretry_for=(ValueError,),
    max_retries=1,
    default_retry_delay=0,
)
def retried_by_itself() -> None:
    raise ValueError("flaky")


@app.task(name="errors.ignored")
def ignored() -> None:
    raise Ignore


@app.task(name="errors.rejected")
def rejected() -> None:
    raise Reject("no", requeue=False)


@app.task(name="errors.thrown", throws=(HarmlessError,))
def thrown() -> None:
    raise HarmlessError


@app.task(name="errors.logged")
def logged() -> None:
    log.error("only a line")


@app.task(name="errors.logged_and_raised")
def logged_and_raised() -> None:
    try:
        plain.run()
    except ValueError:
        log.exception("it failed")
        raise


@app.task(name="errors.captured_and_raised")
def captured_and_raised() -> None:
    try:
        plain.run()
    except ValueError as error:
        otel_sentry.capture_exception(error)
        raise


@app.task(name="errors.raised_from")
def raised_from() -> None:
    try:
        plain.run()
    except ValueError as error:
        raise LookupError("nothing there") from error


@app.task(name="errors.unpicklable")
def unpicklable() -> None:
    raise UnpicklableError("unpicklable")


@app.task(name="errors.unstorable")
def unstorable() -> object:
    return object()


@app.task(name="errors.soft", soft_time_limit=1)
def soft() -> None:
    time.sleep(20)


@app.task(name="errors.hard", time_limit=1)
def hard(card: int, token: str) -> None:
    time.sleep(20)


@app.task(name="errors.lost", acks_late=True)
def lost() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="errors.exits")
def exits() -> None:
    raise SystemExit(3)


@app.task(name="errors.kept")
def kept() -> None:
    raise NOT_READY


@app.task(name="errors.calls")
def calls() -> None:
    plain.apply()


@app.task(name="errors.calls_and_raises")
def calls_and_raises() -> None:
    plain.apply()
    raise KeyError("outer")


@app.task(name="errors.says")
def says() -> int:
    otel_sentry.set_user_context(7, role="admin")
    otel_sentry.set_tag("shop", "eu")
    otel_sentry.set_context("cart", {"items": 3})
    otel_sentry.add_breadcrumb("paid", "shop")
    otel_sentry.capture_exception(KeyError("said"), extra={"a": 1}, level="warning")
    return os.getpid()


@app.task(name="errors.is_silent")
def is_silent() -> int:
    otel_sentry.capture_message("silent")
    return os.getpid()


def eagerly() -> None:
    app.conf.task_always_eager = True
    try:
        plain.delay()
    finally:
        app.conf.task_always_eager = False


def leave_no_one_out() -> None:
    """Let both children of the pool run a task after the one that says something."""
    pid = says.delay().get(timeout=20)
    while is_silent.delay().get(timeout=20) != pid:
        """The other one was idle."""


# Each ends the process that runs it.
DEADLY = {
    "hard": lambda: hard.delay(1, SECRET),
    "lost": lost.delay,
    "exits": exits.delay,
}
CASES = {
    "plain": lambda: plain.delay(1, SECRET, password=SECRET),
    "noise": noise.delay,
    "routed": routed.delay,
    "after": after.delay,
    "retried": retried.delay,
    "recovers": recovers.delay,
    "retried by itself": retried_by_itself.delay,
    "ignored": lambda: ignored.delay() and None,
    "rejected": lambda: rejected.delay() and None,
    "thrown": thrown.delay,
    "logged": logged.delay,
    "logged and raised": logged_and_raised.delay,
    "captured and raised": captured_and_raised.delay,
    "raised from": raised_from.delay,
    "unpicklable": unpicklable.delay,
    "unstorable": unstorable.delay,
    "chain": lambda: chain(fine.s(), plain.s(SECRET), fine.s())().parent,
    "group": group(fine.s(), plain.s()),
    "chord": lambda: chord([fine.s(1), plain.s()])(fine.s()),
    "apply": lambda: plain.apply() and None,
    "kept": lambda: kept.apply() and None,
    "the same object": lambda: kept.apply() and None,
    "always eager": eagerly,
    "calls": calls.delay,
    "calls and raises": calls_and_raises.delay,
    "says": leave_no_one_out,
    "soft": soft.delay,
}


def publish_all() -> None:
    """Publish each case in a trace of its own, print that, and wait for all."""
    # First those that end a process: they take nothing with them that another case has queued.
    for cases in (DEADLY, CASES):
        for result in [publish(name) for name in cases]:
            if result is not None:
                result.get(timeout=30, propagate=False)


def publish(name: str) -> Any:
    """Publish a case; the result to wait for, if it has one."""
    from opentelemetry.trace import get_tracer

    with get_tracer(__name__).start_as_current_span(name) as span:
        sys.stdout.write(f"{name}\t{span.get_span_context().trace_id:032x}\n")
        return {**DEADLY, **CASES}[name]()
