from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from otel_sentry.cli._demo_shop import run_shop
from otel_sentry.cli._demo_visit import visit, wait_for_order
from otel_sentry.cli.tail.receiver import Receiver
from tests.servers import postgres_server, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_collection_modifyitems(items):
    """Mark everything in this folder."""
    for item in items:
        if "end_to_end" in str(item.path):
            item.add_marker(pytest.mark.end_to_end)


@dataclass
class Run:
    """What real processes sent while a few requests were made."""

    transactions: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    bodies: list[bytes]
    client_reports: list[dict[str, Any]]
    envelope_headers: list[dict[str, Any]]
    logs: str
    spans: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for event in self.transactions:
            trace = event["contexts"]["trace"]
            self.spans[trace["span_id"]] = {**trace, "description": event["transaction"]}
            for span in event["spans"]:
                self.spans[span["span_id"]] = span

    def transaction(self, name: str) -> dict[str, Any]:
        """Return the only transaction of that name."""
        found = [event for event in self.transactions if event["transaction"] == name]
        assert len(found) == 1, [event["transaction"] for event in self.transactions]
        return found[0]


@contextlib.contextmanager
def shop_run(directory: Path, *, database_url: str | None = None, **settings: str) -> Iterator[Run]:
    """Run the demo shop under the launcher, visit it, stop it, and yield what arrived."""
    with redis_server() as redis, Receiver() as receiver:
        environment = {
            "SENTRY_DSN": receiver.dsn,
            "SENTRY_TRACES_SAMPLE_RATE": "1",
            "SENTRY_RELEASE": "shop@1.2.3",
            **settings,
        }
        with run_shop(
            directory,
            redis_url=redis.rpartition("/")[0],
            database_url=database_url,
            settings=environment,
        ) as shop:
            order = visit(shop.url, lambda *_: None)
            assert order is not None
            assert wait_for_order(shop.url, order)
            receiver.wait_for(lambda seen: len(seen.errors()) >= 2, 20, "both errors")
            logs = shop.processes.describe_logs()
        # The processes have ended: what they had queued was flushed, or it is lost.
        yield Run(
            transactions=receiver.transactions(),
            errors=receiver.errors(),
            bodies=receiver.bodies,
            client_reports=[i.fields for i in receiver.items if i.kind == "client_report"],
            envelope_headers=[
                i.envelope_headers for i in receiver.items if i.kind in {"transaction", "error"}
            ],
            logs=logs,
        )


@pytest.fixture(scope="package")
def run(tmp_path_factory) -> Iterator[Run]:
    """Return the shop's run on SQLite at trace rate 1; all tests look at the same one."""
    with shop_run(tmp_path_factory.mktemp("shop")) as result:
        yield result


@pytest.fixture(scope="package")
def postgres_run(tmp_path_factory) -> Iterator[Run]:
    """Return the same run on PostgreSQL, with the new semantic conventions."""
    with (
        postgres_server() as url,
        shop_run(
            tmp_path_factory.mktemp("shop"),
            database_url=url,
            OTEL_SEMCONV_STABILITY_OPT_IN="http,database",
        ) as result,
    ):
        yield result


@pytest.fixture(scope="package")
def unsampled_run(tmp_path_factory) -> Iterator[Run]:
    """Return the same run with a trace rate of 0."""
    directory = tmp_path_factory.mktemp("shop")
    with shop_run(directory, SENTRY_TRACES_SAMPLE_RATE="0") as result:
        yield result
