from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request

import pytest

from otel_sentry.backends import BACKENDS
from otel_sentry.cli._demo_processes import Processes, accepts_connections, free_port
from otel_sentry.cli._demo_shop import find_script
from otel_sentry.cli.tail.receiver import Receiver
from tests.end_to_end.canary import PLACES, PLANTED, found_in
from tests.end_to_end.stack import READY_SECONDS, environment

# What the launcher does, but for scrubbing; a variable to switch that off must not exist.
WITHOUT_SCRUBBING = """
import runpy, sys
import canary
canary.stop_scrubbing()
from opentelemetry.instrumentation.auto_instrumentation import initialize
initialize()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

CAPTURE = {
    f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_{side}_{kind}": ".*"
    for side in ("SERVER", "CLIENT")
    for kind in ("REQUEST", "RESPONSE")
}


def secret_headers() -> dict[str, str]:
    names = ("proxy-authorization", "x-api-key", "x-auth-token", "x-csrf-token", "x-session-id")
    return {
        **{name: PLANTED[f"header {name}"] for name in names},
        "authorization": f"Bearer {PLANTED['header authorization']}",
        "cookie": f"theme=dark; session={PLANTED['header cookie']}",
        "x-forwarded-for": PLANTED["header x-forwarded-for"],
        "referer": f"https://shop.example/#access_token={PLANTED['fragment of the referer']}",
    }


def post(url: str, body: str, content_type: str, **headers: str) -> None:
    request = urllib.request.Request(
        url, body.encode(), {**headers, "content-type": content_type}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=20):
            pass
    except urllib.error.HTTPError as error:
        error.close()


def visit(base: str) -> None:
    """Send a secret in every part of a request."""
    query = "&".join(f"{key}={PLANTED[f'query {key}']}" for key in ("token", "api_key", "password"))
    body = {
        "password": PLANTED["json password"],
        "access_token": PLANTED["json access_token"],
        "refresh_token": PLANTED["json refresh_token"],
        "items": [{"deep": {"secret": PLANTED["json nested secret"]}}],
        "note": f"write to {PLANTED['json e-mail']}@mail.example",
        "number": PLANTED["json card"],
    }
    url = f"{base}/reset/{PLANTED['path token']}?{query}"
    post(url, json.dumps(body), "application/json", **secret_headers())
    form = f"name=x&password={PLANTED['form password']}"
    post(f"{base}/raw", form, "application/x-www-form-urlencoded")
    part = 'Content-Disposition: form-data; name="password"\r\n\r\n'
    multipart = f"--b\r\n{part}{PLANTED['multipart password']}\r\n--b--\r\n"
    post(f"{base}/raw", multipart, "multipart/form-data; boundary=b")
    xml = f"<login><password>{PLANTED['xml password']}</password></login>"
    post(f"{base}/raw", xml, "application/xml")
    post(f"{base}/pay", "", "text/plain")


def everything_sent(directory, redis_url: str, backend: str, *, scrubbing: bool = True) -> bytes:
    """Return all bytes that a web process and a worker sent, or printed, with that backend."""
    port = free_port()
    with Receiver() as receiver:
        environ = environment(
            receiver,
            OTEL_TRACES_EXPORTER=backend,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_SEMCONV_STABILITY_OPT_IN="http/dup,database/dup",
            OTEL_RESOURCE_ATTRIBUTES=f"deploy.token={PLANTED['resource']},"
            f"contact={PLANTED['resource e-mail']}@mail.example",
            JOBS_REDIS_URL=redis_url,
            **CAPTURE,
        )
        launch = [find_script("opentelemetry-instrument")]
        if not scrubbing:
            launch = [sys.executable, "-c", WITHOUT_SCRUBBING]
        web = [*launch, find_script("uvicorn"), "canary_service:app", "--port", str(port)]
        worker = [*launch, find_script("celery"), "-A", "canary_service:jobs", "worker"]
        with Processes(directory) as processes:
            service = processes.start("web", [*web, "--log-level", "critical"], environ)
            jobs = processes.start(
                "worker", [*worker, "--concurrency", "1", "--without-mingle"], environ
            )
            processes.wait_for(service, lambda: accepts_connections(port), timeout=READY_SECONDS)
            processes.wait_for(jobs, lambda: "is ready." in jobs.read_log(), timeout=READY_SECONDS)
            visit(f"http://127.0.0.1:{port}")
            receiver.wait_for(
                lambda seen: any("canary.pay" in str(e.get("transaction")) for e in seen.errors()),
                20,
                "the task's error",
            )
        # The processes have ended: what they had queued was flushed.
        printed = "".join(child.read_log() for child in (service, jobs))
        return b"\n".join([*receiver.bodies, printed.encode()])


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_secret_leaves(backend, redis_url, tmp_path):
    """Of the secrets planted in requests, spans, frames, logs and tasks none leaves by any way."""
    sent = everything_sent(tmp_path, redis_url, backend)

    assert b"canary.pay" in sent
    assert found_in(sent) == set()


@pytest.mark.unscrubbed
# sentry-sdk's own processor sends neither events nor links of spans.
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "sentry_sdk"])
def test_without_scrubbing_every_secret_leaves(backend, redis_url, tmp_path):
    """Control: with scrubbing off each single secret is found, so the test above can fail."""
    sent = everything_sent(tmp_path, redis_url, backend, scrubbing=False)

    assert set(PLACES) - found_in(sent) == set()
