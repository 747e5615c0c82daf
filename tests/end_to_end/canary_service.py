"""A FastAPI service and a Celery task that have a secret in every place that can hold one."""

from __future__ import annotations

import logging
import os
import sys

import redis
import requests
import sentry_sdk
from canary import PLANTED, jwt
from celery import Celery
from celery.signals import setup_logging, worker_ready
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from opentelemetry import baggage, context, trace
from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from sqlalchemy import create_engine, text

# Nothing of this may be written to the console but by the backend.
logging.getLogger().addHandler(logging.NullHandler())
logger = logging.getLogger("canary")
logger.setLevel("INFO")

url = os.environ["JOBS_REDIS_URL"]
app = FastAPI()
jobs = Celery("canary", broker=url, backend=url)
jobs.conf.broker_connection_retry_on_startup = True
jobs.conf.worker_redirect_stdouts = False
engine = create_engine("sqlite://", connect_args={"check_same_thread": False})
tracer = trace.get_tracer("canary")


@setup_logging.connect
def leave_logging_alone(**_) -> None:
    """Celery would print tracebacks, arguments and results."""


@worker_ready.connect
def say_so(**_) -> None:
    sys.stdout.write("worker is ready.\n")
    sys.stdout.flush()


@jobs.task(name="canary.pay")
def pay(card, options, api_key) -> None:
    password = PLANTED["task local"]
    span = trace.get_current_span()
    span.set_attribute("app.secret_key", PLANTED["task attribute"])
    raise ValueError(f"{len(card)} {len(options)} {len(api_key)} {len(password)}")


@app.get("/echo")
def echo(response: Response) -> None:
    response.headers["set-cookie"] = f"session={PLANTED['response header set-cookie']}"


@app.post("/reset/{token}")
async def reset(token: str, request: Request, response: Response) -> None:
    response.headers["set-cookie"] = f"session={PLANTED['response header set-cookie']}"
    password = PLANTED["local password"]
    pairs = [(b"x-api-key", PLANTED["local in a list of pairs"].encode())]
    printed = repr([(b"cookie", PLANTED["local printed pairs"].encode())])
    note = f"got Bearer {PLANTED['local bearer']} and {jwt('local jwt')}"
    pem = f"-----BEGIN PRIVATE KEY-----\n{PLANTED['local private key']}\n-----END PRIVATE KEY-----"
    by_mail = {f"{PLANTED['local key of a mapping']}@mail.example": 1}
    body = await request.json()
    scope(), spans(), log()
    await run_in_threadpool(calls, str(request.base_url))
    raise RuntimeError(
        f"{len(token + password + printed + note + pem)} {len(pairs)} {len(by_mail)} {len(body)}:"
        f" cannot reach postgres://app:{PLANTED['exception url']}@db/shop,"
        f" told {PLANTED['exception e-mail']}@mail.example\n"
        f"[SQL: INSERT INTO u VALUES ('{PLANTED['exception sql literal']}', ?)]\n"
        f"[parameters: ('{PLANTED['exception sql parameter']}',)]\n"
    )


@app.post("/raw")
async def raw(request: Request) -> None:
    payload = (await request.body()).decode()
    raise RuntimeError(f"{len(payload)} characters of {request.headers['content-type']}")


@app.post("/pay")
def order() -> None:
    pay.delay("4", ["--token", "x"], api_key=PLANTED["task argument of a frame"])


def scope() -> None:
    sentry_sdk.set_tag("auth_token", PLANTED["tag"])
    sentry_sdk.set_extra("nested", [{"a": {"client_secret": PLANTED["extra"]}}])
    sentry_sdk.set_context("payment", {"cvv": PLANTED["context"]})
    sentry_sdk.set_user({"id": "7", "session": PLANTED["user session"]})
    sentry_sdk.add_breadcrumb(
        message=f"login?token={PLANTED['breadcrumb message']}",
        data={"api_key": PLANTED["breadcrumb data"]},
    )


def spans() -> None:
    link = Link(SpanContext(1, 2, is_remote=True), {"token": PLANTED["link of a span"]})
    name = f"step token={PLANTED['name of a span']}"
    with tracer.start_as_current_span(name, links=[link]) as span:
        span.set_attributes(
            {
                "password": PLANTED["attribute password"],
                "http.url": f"https://u:{PLANTED['attribute url']}@h/",
                "card": PLANTED["attribute card"],
                "note": f"{PLANTED['attribute e-mail']}@mail.example",
                "jwt.example": jwt("attribute jwt"),
                "process.command_args": ["app", "--password", PLANTED["attribute list"]],
                f"{PLANTED['attribute key e-mail']}@mail.example": "seen",
            }
        )
        span.add_event("sent", {"secret": PLANTED["event of a span"]})
        span.set_status(Status(StatusCode.ERROR, f"password={PLANTED['status of a span']}"))


def log() -> None:
    logger.info("login with password=%s", PLANTED["log argument"])
    logger.info("Authorization: Bearer %s", PLANTED["log bearer"])
    logger.warning("see extra", extra={"api_key": PLANTED["log extra"]})
    logger.error("no login with token=%s", PLANTED["error log argument"])


def calls(base: str) -> None:
    attached = context.attach(baggage.set_baggage("auth_token", PLANTED["baggage"]))
    try:
        requests.get(
            f"{base}echo?access_token={PLANTED['outgoing query']}",
            headers={"X-Api-Key": PLANTED["outgoing header"]},
            timeout=10,
        )
    finally:
        context.detach(attached)
    with engine.connect() as connection:
        connection.execute(text(f"SELECT '{PLANTED['sql literal']}'"))
    redis.Redis.from_url(url).get(f"profile:{PLANTED['redis key']}")
    with tracer.start_as_current_span("SET") as span:
        span.set_attribute("db.system", "redis")
        span.set_attribute("db.statement", f"SET user {PLANTED['redis argument']}")
    with tracer.start_as_current_span("SELECT") as span:
        span.set_attribute("db.system", "mysql")
        literal = PLANTED["sql literal in double quotes"]
        span.set_attribute("db.statement", f'SELECT * FROM u WHERE a LIKE "{literal}"')
