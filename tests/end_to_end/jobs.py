"""A Celery application with a result back end, without observability code."""

from __future__ import annotations

import os
import time

from celery import Celery

url = os.environ.get("JOBS_REDIS_URL", "redis://localhost:6379/0")
app = Celery("jobs", broker=url, backend=url)
app.conf.broker_connection_retry_on_startup = True


@app.task(name="jobs.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="jobs.fail")
def fail() -> None:
    raise ValueError("this job fails")


@app.task(name="jobs.sleep")
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@app.task(bind=True, name="jobs.retry", max_retries=2)
def retry(self) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries
