"""
One hop of a journey, over HTTP and over Celery, without observability code.

The header ``x-next`` names the hops that follow: ``<where>/<case>/<mark>``, separated by ``|``. The
mark tells the hops of all journeys apart in what arrives at the far end.
"""

from __future__ import annotations

import contextlib
import json
import os

import httpx
import kinds
from celery import Celery
from celery.signals import worker_shutdown
from fastapi import FastAPI, Request

FIELDS = ("sentry-trace", "traceparent", "tracestate", "baggage")
KIND = os.environ["NEIGHBOUR"]

kinds.START[KIND]()

redis = os.environ["NEIGHBOURS_REDIS_URL"]
worker = Celery("hop", broker=redis)
worker.conf.broker_connection_retry_on_startup = True
worker.conf.task_ignore_result = True


def go_on(plan: str, headers: dict[str, str]) -> None:
    """Go to the next hop."""
    following, _, rest = plan.partition("|")
    where, case, mark = following.rsplit("/", 2)
    if where.startswith("celery:"):
        queue = where.removeprefix("celery:")
        worker.send_task("hop", args=[case, rest], task_id=mark, queue=queue, headers=headers)
    else:
        httpx.get(following, headers={**headers, "x-next": rest}, timeout=20).raise_for_status()


@worker.task(name="hop", bind=True)
def hop_by_celery(self, case: str, plan: str) -> None:
    """Tell what the message carried, and go on."""
    message = vars(self.request)
    levels = [message, message.get("headers") or {}]
    carried = [{name: level[name] for name in FIELDS if level.get(name)} for level in levels]
    go_on(plan, {"x-message": json.dumps(carried)})


@worker_shutdown.connect
def _flush(**_: object) -> None:
    kinds.flush(KIND)


@contextlib.asynccontextmanager
async def _flushed(_: FastAPI):
    yield
    kinds.flush(KIND)


app = FastAPI(lifespan=_flushed)


@app.get("/{case}/{mark}")
def hop_by_http(case: str, mark: str, request: Request) -> None:
    """Go on."""
    plan = request.headers["x-next"]
    with kinds.head(KIND, case) as headers:
        go_on(plan, headers)
