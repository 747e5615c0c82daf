from __future__ import annotations

import re
import subprocess
import sys
import urllib.request

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode

from otel_sentry.cli._demo_shop import run_shop
from otel_sentry.cli._demo_visit import SECRETS, visit, wait_for_order
from otel_sentry.cli.tail._server import Response
from otel_sentry.cli.tail.receiver import Receiver
from tests import test_scrubbing as sdk
from tests.collector.otlp import Sent, encode, post
from tests.collector.running import (
    FOLDER,
    ROOT,
    SIDECAR,
    run_collector,
    settings,
    wait_until,
)

# Each is made up; CANARY is in every one of them.
CANARY = "c4n4rY"
JWT = f"eyJhbGciOiJIUzI1NiJ9.{CANARY}eyJzdWIiOiIxIn0.{CANARY}dBjftJeZ4CVPmB92K27uhbUJU1p1r"
ATTRIBUTES = {
    "http.request.header.authorization": [f"Bearer {CANARY}abcdef123"],
    "http.request.header.cookie": [f"sid={CANARY}; theme=dark"],
    "http.request.header.x-api-key": f"{CANARY}",
    "http.request.header.x_forwarded_for": f"10.0.0.{CANARY}",
    "url.query": f"page=2&token={CANARY}&sort=name",
    "url.full": f"https://shop.example/report?access_token={CANARY}&page=2",
    "http.url": f"https://ada:{CANARY}@shop.example/report",
    "db.statement": f"SELECT * FROM users WHERE name = '{CANARY}' AND pin = 1234",
    "db.query.text": f"UPDATE users SET name = '{CANARY}''s', note = $${CANARY}$$ WHERE id = 7",
    "userPassword": CANARY,
    "client.address": f"192.0.2.{CANARY}",
    "enduser.id": CANARY,
    "session_token": [CANARY, "other"],
    "pin": 123456789,
    "message": f"login with password={CANARY} failed",
    "body": '{"user": "ada", "apiKey": "' + CANARY + '", "n": 1}',
    "note": f"mail to ada.{CANARY}@example.com",
    "header": f"Authorization: Bearer {CANARY}abc123",
    "jwt_like": f"got {JWT} here",
    "stripe": f"sk_live_{CANARY}4eC39HqLyjWDarjtT1",
    "github": f"ghp_{CANARY}16C7e42F292c6912E7710c838347Ae",
    "key_text": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
    "card": "paid with 4111 1111 1111 1111 today",
    "list": [f"token={CANARY}", "fine"],
    "error.type": f"token={CANARY}",
    "sqlalchemy": f"failed [parameters: ('{CANARY}', 1)]",
}
HARMLESS = {
    "http.route": "/items/{item_id}",
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "db.system": "postgresql",
    "server.address": "shop.example",
    "token_count": 12,
    "session_ttl": 3600,
    "already": "[Filtered]",
    "user.password": "[Filtered]",
    "message.text": "the basic plan has two bearers of 15 tokens",
}


def test_the_committed_rules_are_those_of_the_sdk():
    """collector/scrubbing.yaml is what `otel-sentry collector-config` writes today."""
    written = subprocess.run(
        [sys.executable, "-m", "otel_sentry.cli", "collector-config"],
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (FOLDER / "scrubbing.yaml").read_text() == written, (
        "write it anew: otel-sentry collector-config > collector/scrubbing.yaml"
    )


@pytest.fixture(scope="module")
def scrubbed(tmp_path_factory):
    """Send canaries from a plain OpenTelemetry SDK through the sidecar; return what came out."""
    directory = tmp_path_factory.mktemp("scrubbing")
    with (
        Receiver() as sentry,
        run_collector(
            directory, *SIDECAR, environment=settings(sentry, directory / "storage")
        ) as sidecar,
    ):
        resource = Resource({"service.name": "plain", "deploy.token": CANARY})
        provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(f"{sidecar.url}/v1/traces")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("plain", attributes={"secret": CANARY})
        query = {"url.query": ATTRIBUTES["url.query"], "db.statement": ATTRIBUTES["db.statement"]}
        tracer.start_span("harmless", attributes=HARMLESS | query).end()
        with tracer.start_as_current_span(
            f"GET /report?token={CANARY}", attributes=ATTRIBUTES
        ) as s:
            s.add_event(
                f"token={CANARY}", {"password": CANARY, "exception.message": f"pw={CANARY}"}
            )
            s.set_status(StatusCode.ERROR, f"refused: password={CANARY}")
        sentry.wait_for(lambda seen: len(seen.spans()) == 2, 10, "spans")
        provider.shutdown()
        bodies = b"".join(sentry.bodies)
        harmless, secret = sorted(sentry.spans(), key=lambda span: span["name"] != "harmless")
        return bodies, harmless, secret


def test_the_collector_alone_removes_every_canary(scrubbed):
    """What a plain OpenTelemetry SDK sends holds no secret behind the sidecar."""
    body, _, span = scrubbed
    leaks = {key: value for key, value in span["attributes"].items() if CANARY in str(value)}
    assert not leaks
    assert CANARY.encode() not in body
    assert b"4111" not in body
    assert b"123456789" not in body


def test_the_collector_keeps_what_is_harmless(scrubbed):
    """Routes, methods, counts and texts without secrets pass as they are, and so does a marker."""
    _, span, _ = scrubbed
    assert {key: span["attributes"].get(key) for key in HARMLESS} == HARMLESS
    assert span["attributes"]["url.query"] == "page=2&token=[Filtered]&sort=name"
    assert span["attributes"]["db.statement"] == "SELECT * FROM users WHERE name = ? AND pin = ?"


def table(test) -> list:
    """Return the rows that a test is parametrized with."""
    return [getattr(row, "values", row) for row in test.pytestmark[0].args[1]]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}", text))


def test_the_collector_removes_what_the_sdk_removes(tmp_path):
    """Of the texts and keys that the SDK's tests are made of, the sidecar leaves no secret."""
    # `user[name]=...`: the sidecar knows personal data by attribute keys only.
    texts = [row for row in table(sdk.test_secrets_leave_a_text) if "user[name]" not in row[0]]
    keys = [row if isinstance(row, str) else row[0] for row in table(sdk.test_sensitive_keys)]
    spans = [Sent(1, n, attributes={"note": row[0]}) for n, row in enumerate(texts, 1)]
    spans += [Sent(2, 1000 + n, attributes={key: CANARY}) for n, key in enumerate(keys)]
    with (
        Receiver() as sentry,
        run_collector(tmp_path, *SIDECAR, environment=settings(sentry, tmp_path / "s")) as sidecar,
    ):
        assert post(sidecar.url, encode(spans)) == 200
        sentry.wait_for(lambda seen: len(seen.spans()) == len(spans), 10, "spans")
    by_id = {int(span["span_id"], 16): span["attributes"] for span in sentry.spans()}
    leaks = {
        row[0]: by_id[n]["note"]
        for n, row in enumerate(texts, 1)
        if (words(row[0]) - words(row[1])) & words(by_id[n]["note"])
    }
    assert not leaks
    assert {by_id[1000 + n][key] for n, key in enumerate(keys)} == {"****"}


@pytest.fixture(scope="module")
def hops(tmp_path_factory, redis_url):
    """Run the demo shop with the backend otlp through the sidecar; return both hops."""
    directory = tmp_path_factory.mktemp("hops")
    with (
        Receiver() as sentry,
        run_collector(
            directory, *SIDECAR, environment=settings(sentry, directory / "storage")
        ) as sidecar,
    ):

        def forward(request):
            kept = {k: v for k, v in request.headers.items() if k == "content-type"}
            passed = urllib.request.Request(sidecar.url + request.path, request.body, kept)
            with urllib.request.urlopen(passed, timeout=10) as answer:
                return Response(answer.status)

        with Receiver(respond=forward) as tap, Receiver() as errors:
            observability = {
                "SENTRY_DSN": errors.dsn,
                "SENTRY_TRACES_SAMPLE_RATE": "1",
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": tap.otlp_endpoint,
                "OTEL_BSP_SCHEDULE_DELAY": "200",
            }
            with run_shop(
                directory,
                redis_url=redis_url.rpartition("/")[0],
                database_url=None,
                settings=observability,
            ) as shop:
                order = visit(shop.url, lambda *_: None)
                assert order is not None
                assert wait_for_order(shop.url, order)
            # The shop has stopped, so all it had went into the tap.
            wait_until(lambda: len(sentry.spans()) >= len(tap.spans()), 20)
            return tap, sentry


def shape(receiver: Receiver) -> set[tuple]:
    """Return what makes the trace trees: who is whose child, under which name."""
    return {
        (s["trace_id"], s["span_id"], s["parent_span_id"], s["name"], s["kind"])
        for s in receiver.spans()
    }


def test_the_trees_arrive_as_they_were_sent(hops):
    """Behind the sidecar stand the spans that the SDK has sent, each once, in the same trees."""
    tap, sentry = hops
    assert len(tap.spans()) > 20
    assert len({span["trace_id"] for span in tap.spans()}) >= 5
    assert shape(sentry) == shape(tap)
    assert len(sentry.spans()) == len(tap.spans())


def test_the_collector_leaves_alone_what_the_sdk_has_scrubbed(hops):
    """Both scrub with the same rules: the second time there is nothing left to remove."""
    tap, sentry = hops
    sent = {span["span_id"]: span["attributes"] for span in tap.spans()}
    assert {span["span_id"]: span["attributes"] for span in sentry.spans()} == sent


def test_no_secret_on_either_hop(hops):
    """The demo's secrets are neither in the bytes of the SDK nor in those of the sidecar."""
    for receiver in hops:
        for body in receiver.bodies:
            assert not [name for name, secret in SECRETS.items() if secret.encode() in body]
