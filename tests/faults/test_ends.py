"""Processes end in every way there is; what they had made before arrives, and nobody waits."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from otel_sentry.cli._demo_shop import find_script
from tests.end_to_end import stack
from tests.faults.driver import environment, run_script
from tests.faults.far_end import FarEnd, Mode

TEN = """
import application, threading, time, os, signal, sys
for _ in range(10): application.one(2)
"""

ENDS = {
    "return": "",
    "sys.exit": "sys.exit(3)",
    "an exception": "raise RuntimeError('the end')",
    "KeyboardInterrupt": "os.kill(os.getpid(), signal.SIGINT); time.sleep(20)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)",
    "sys.exit inside a span": "with application.tracer.start_as_current_span('open'): sys.exit(3)",
    "sys.exit in a thread": "t = threading.Thread(target=sys.exit); t.start(); t.join()",
    "a daemon thread at work": (
        "threading.Thread(target=application.work, kwargs={'transactions': 10**6, 'rate': 10},"
        " daemon=True).start()"
    ),
    "a thread that outlives the main one": (
        "def late():\n    time.sleep(0.3)\n    application.one(2)\n"
        "threading.Thread(target=late).start()"
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_is_queued_at_the_end_arrives(far_end, end):
    """However a process ends that can still do something, what it made arrives first."""
    run_script(f"{TEN}{end}", far_end.dsn)

    names = [event["transaction"] for event in far_end.receiver.transactions()]
    assert names.count("GET /work") >= 10
    assert far_end.lost("transaction") == 0


def quickest(seconds, enough):
    """Return what the quickest of three attempts took: a busy machine slows some, a defect all."""
    took = seconds()
    for _ in range(2):
        if took >= enough:
            took = min(took, seconds())
    return took


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)"])
def test_a_script_ends_although_sentry_hangs(far_end, end):
    """A far end that answers nothing delays the end of a process by three seconds at most."""
    far_end.become(Mode("hang"))
    code = f"{TEN}application.fail()\nprint(time.time(), flush=True)\n{end}"

    def seconds():
        done = run_script(code, far_end.dsn)
        return time.time() - float(done.stdout)

    # Two seconds are the promise's; the rest is the interpreter's end on a busy machine. The far
    # end hangs for as long as the test runs, and a request's own limit is 30 seconds.
    assert quickest(seconds, 3.5) < 3.5


@pytest.mark.parametrize("lock", ["log_batcher._lock", "transport._worker._lock"])
def test_sigterm_while_a_lock_is_held(far_end, lock):
    """A signal that strikes in sentry-sdk's logs, or in our transport, finds its way out."""
    code = f"""
import application, os, otel_sentry, sentry_sdk, signal, time
otel_sentry.init(enable_logs=True)
for _ in range(10): application.one(2)
if "transport" in {lock!r}:
    sentry_sdk.flush(10)  # what is built now needs the lock in another thread
application.fail()
with sentry_sdk.get_client().{lock}:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
"""
    done = run_script(code, far_end.dsn)

    assert done.returncode == -signal.SIGTERM, done.stderr
    assert len(far_end.receiver.transactions()) == 10
    assert len(far_end.receiver.errors()) == 1


def test_a_flush_takes_its_time_once(far_end):
    """A flush of traces and errors that hang takes as long as it was given, not twice."""
    far_end.become(Mode("hang"))
    code = f"""{TEN}
import otel_sentry
application.fail()
started = time.monotonic()
otel_sentry.flush(2.0)
print(time.monotonic() - started, flush=True)
os._exit(0)
"""

    assert quickest(lambda: float(run_script(code, far_end.dsn).stdout), 3.5) < 3.5


def test_uvicorn_ends_although_sentry_hangs(far_end, tmp_path):
    """The launcher with uvicorn ends in time, too, with transactions and errors in its queues."""
    far_end.become(Mode("hang"))
    settings = environment(far_end.dsn)

    def seconds():
        with stack.run_service(tmp_path, far_end.receiver, **_ours(settings)) as service:
            for path in ("/items/3", "/log", "/sub/boom") * 5:
                service.get(path)
            started = time.monotonic()
            service.child.process.terminate()
            service.child.process.wait(30)
            return time.monotonic() - started

    assert quickest(seconds, 5) < 5


def _ours(settings):
    path = os.pathsep.join((settings["PYTHONPATH"], str(stack.HERE)))
    return {"SENTRY_DSN": settings["SENTRY_DSN"], "PYTHONPATH": path}


def test_a_killed_worker_takes_nobody_along(tmp_path):
    """After SIGKILL of one of gunicorn's workers every other request arrives, exactly once."""
    command = (*stack.GUNICORN, "-w", "2")
    with FarEnd() as far_end:
        settings = _ours(environment(far_end.dsn))
        with stack.run_service(tmp_path, far_end.receiver, *command, **settings) as service:
            before = [service.get("/pid") for _ in range(20)]
            far_end.receiver.wait_for(lambda seen: len(seen.transactions()) == 20, 20)
            os.kill(int(before[0][1]), signal.SIGKILL)
            after = [service.get("/pid") for _ in range(40)]
            service.child.process.terminate()
            service.child.process.wait(30)

        answered = sum(status == 200 for status, _ in (*before, *after))
        spans = [e["contexts"]["trace"]["span_id"] for e in far_end.receiver.transactions()]
        assert len(spans) == len(set(spans))
        assert answered <= len(spans) <= len(before) + len(after)
        assert answered >= 40


EXITS = """
import os, jobs
from celery.signals import task_postrun

@jobs.app.task(name="jobs.vanish")
def vanish():
    os._exit(7)
"""


def test_a_celery_child_that_vanishes(tmp_path, redis_url):
    """``os._exit`` in a job costs that job's transaction; the jobs before and after it arrive."""
    (tmp_path / "vanishing.py").write_text(f"{EXITS}\napp = jobs.app\n")
    with FarEnd() as far_end:
        settings = environment(far_end.dsn, JOBS_REDIS_URL=redis_url)
        settings["PYTHONPATH"] += os.pathsep.join(("", str(stack.HERE), str(tmp_path)))
        command = [find_script("opentelemetry-instrument"), find_script("celery")]
        command += ["-A", "vanishing:app", "worker", "--concurrency", "1", "--without-mingle"]
        log = tmp_path / "worker.log"
        with log.open("w") as output:
            worker = subprocess.Popen(
                command, env=settings, cwd=tmp_path, stdout=output, stderr=output
            )
        try:
            _publish(
                tmp_path, redis_url, "[jobs.add.delay(1, 2).get(timeout=40) for _ in range(3)]"
            )
            _publish(tmp_path, redis_url, "vanishing.vanish.delay()")
            _publish(
                tmp_path, redis_url, "[jobs.add.delay(1, 2).get(timeout=40) for _ in range(3)]"
            )
        finally:
            worker.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(20)
            worker.kill()
            worker.wait()

        jobs = stack.by_name(far_end.receiver, "jobs.add")
        assert len(jobs) == 6, log.read_text()


def _publish(directory, redis_url, code):
    path = os.pathsep.join((str(stack.HERE), str(directory)))
    subprocess.run(
        [sys.executable, "-c", f"import jobs, vanishing\n{code}"],
        env={**stack.environment(None, JOBS_REDIS_URL=redis_url), "PYTHONPATH": path},
        timeout=60,
        check=True,
    )


def test_sys_exit_during_a_request(tmp_path):
    """A request that calls ``sys.exit()`` is sent, as are those before it."""
    service_code = (
        "import sys\nfrom service import app\n"
        "@app.get('/exit')\nasync def leave():\n    sys.exit(4)\n"
    )
    (tmp_path / "leaving.py").write_text(service_code)
    command = ("uvicorn", "leaving:app", "--host", "127.0.0.1", "--port", "{port}")
    with FarEnd() as far_end:
        settings = _ours(environment(far_end.dsn))
        settings["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
        with stack.run_service(tmp_path, far_end.receiver, *command, **settings) as service:
            service.get("/pid")
            # uvicorn itself answers 500 and stays.
            service.get("/exit")
            service.child.process.terminate()
            service.child.process.wait(20)

        names = {event["transaction"] for event in far_end.receiver.transactions()}
        assert names >= {"GET /pid", "GET /exit"}
        assert not re.search("otel_sentry failed", service.child.read_log())
