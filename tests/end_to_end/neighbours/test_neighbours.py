"""Traces between us and six kinds of neighbours, over real HTTP and Celery."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.end_to_end.neighbours import fleet as neighbours
from tests.end_to_end.neighbours.headers import numbers_agree
from tests.end_to_end.neighbours.journeys import CLIENT, US, Journey, cell
from tests.end_to_end.neighbours.tap import Tap
from tests.servers import redis_server

# The neighbours scrub what they scrub.
pytestmark = [pytest.mark.unscrubbed, pytest.mark.timeout(180)]

DOC = Path(__file__).parents[3] / "docs/neighbours.md"
WRITE = "OTEL_SENTRY_WRITE_NEIGHBOURS"

NAMES = {
    "bridge": "otel-sentry",
    "native": "sentry-sdk, tracing",
    "errors-only": "sentry-sdk, no tracing",
    "otlp-integration": "sentry-sdk, `OTLPIntegration`",
    "opentelemetry": "OpenTelemetry, W3C",
    "node": "`@sentry/node`, tracing",
    "node-errors-only": "`@sentry/node`, no tracing",
    "client": "browser",
}
# "native-drop" is "native" again.
PROPERTIES = ("trace", "decision", "sampling context", "baggage", "tracestate", "once")
DECIDED = ("keep", "drop", "sampled", "not sampled")
UPSTREAM = {
    "bridge": (*DECIDED, "open", "deferred"),
    "native": DECIDED,
    "errors-only": ("open", "sampled", "not sampled"),
    "otlp-integration": DECIDED,
    "opentelemetry": DECIDED,
    "node": DECIDED,
    "node-errors-only": ("open", "sampled", "not sampled"),
    "client": tuple(CLIENT),
}
"""By kind: the cases in which it comes before us. After us all come in those of the bridge."""

CHAINS = {
    "browser, us, native worker": Journey("deferred", (US, "celery:native")),
    "node, us, OpenTelemetry": Journey("keep", ("node", US, "opentelemetry")),
    "browser, native, our worker": Journey("sampled", ("native", f"celery:{US}")),
}


def rows() -> dict[tuple[str, str, str], list[Journey]]:
    """Return the journeys of each row: direction, transport and neighbour."""
    found = {}
    for kind, cases in UPSTREAM.items():
        first = () if kind == "client" else (kind,)
        found["before us", "HTTP", kind] = [Journey(case, (*first, US)) for case in cases]
        if kind in neighbours.WORKERS:
            queue = (kind, f"celery:{US}")
            found["before us", "Celery", kind] = [Journey(case, queue) for case in cases]
    for kind in (*neighbours.WEB, *neighbours.NODES):
        cases = UPSTREAM[US]
        if kind in NAMES and kind != US:
            found["after us", "HTTP", kind] = [Journey(case, (US, kind)) for case in cases]
            if kind in neighbours.WORKERS:
                after = (US, f"celery:{kind}")
                found["after us", "Celery", kind] = [Journey(case, after) for case in cases]
    return found


ROWS = rows()


def needs_node(journeys) -> bool:
    return any(stop in neighbours.NODES for journey in journeys for stop in journey.stops)


@pytest.fixture(scope="module")
def node():
    """Return where Sentry's SDK for Node.js is; a text says why it is nowhere."""
    folder = neighbours.node_folder()
    if isinstance(folder, str) and os.environ.get("CI"):
        pytest.fail(folder)
    return folder


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, node):
    """Return the neighbours, after every journey: all processes have ended, all has arrived."""
    installed = node if isinstance(node, Path) else None
    journeys = [*(one for row in ROWS.values() for one in row), *CHAINS.values()]
    if installed is None:
        journeys = [one for one in journeys if not needs_node([one])]
    with redis_server() as redis, Tap() as tap:
        directory = tmp_path_factory.mktemp("neighbours")
        with neighbours.run_fleet(directory, redis, installed) as running:
            marks = set()
            for number, journey in enumerate(journeys):
                marks |= journey.travel(running, tap, number)
            seen = tap.wait_for(marks)
        for journey in journeys:
            journey.gather(seen, tap.messages)
    return running


def require(node, journeys) -> None:
    if isinstance(node, str) and needs_node(journeys):
        pytest.skip(node)


def line(fleet, key, journeys) -> str:
    """Return a row of the table."""
    told = [(one.case, one.link(fleet, len(one.stops) - 1).judge()) for one in journeys]
    cells = [cell((case, said[name]) for case, said in told if name in said) for name in PROPERTIES]
    return "| " + " | ".join((key[1], NAMES[key[2]], *cells)) + " |"


def page(direction: str) -> tuple[str, str]:
    """Return how the generated part of a direction starts and ends."""
    return f"<!-- {direction}: make docs -->\n", f"<!-- end of {direction} -->\n"


@pytest.mark.skipif(WRITE not in os.environ, reason=f"{WRITE} is not set: make docs sets it")
def test_write_the_table(fleet, node):
    """`make docs` writes what the journeys showed."""
    require(node, [one for row in ROWS.values() for one in row])
    text = DOC.read_text()
    for direction in ("before us", "after us"):
        head = ("transport", "neighbour", *PROPERTIES)
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += [line(fleet, key, row) for key, row in ROWS.items() if key[0] == direction]
        start, end = page(direction)
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n" + "\n".join(lines) + f"\n\n{end}{rest.partition(end)[2]}"
    DOC.write_text(text)


@pytest.mark.skipif(WRITE in os.environ, reason="the table is being written")
@pytest.mark.parametrize("key", ROWS, ids="-".join)
def test_the_table_is_true(fleet, node, key):
    """What docs/neighbours.md says of a neighbour is what happens."""
    require(node, ROWS[key])
    start, end = page(key[0])
    assert line(fleet, key, ROWS[key]) in DOC.read_text().partition(start)[2].partition(end)[0]


@pytest.mark.parametrize("key", [key for key in ROWS if key[0] == "before us"], ids="-".join)
def test_we_lose_nothing(fleet, node, key):
    """Whatever a neighbour sends us goes on: trace, decision, context, baggage, tracestate."""
    require(node, ROWS[key])
    for journey in ROWS[key]:
        link = journey.link(fleet, len(journey.stops) - 1)
        assert "no" not in link.judge().values(), (journey, link)


@pytest.mark.parametrize("key", [key for key in ROWS if key[0] == "after us"], ids="-".join)
def test_we_send_everything(fleet, node, key):
    """What we send to a neighbour is whole, and its numbers agree with the decision."""
    require(node, ROWS[key])
    for journey in ROWS[key]:
        sent = journey.link(fleet, 1).before
        assert sent.once, journey
        assert sent.agree, journey
        assert sent.trace == sent.context["trace_id"], journey
        assert sent.baggage == {"user": "alice"}, journey
        assert numbers_agree(sent.context), journey
        decided = {True: "true", False: "false", None: None}[sent.sampled]
        assert sent.context.get("sampled") == decided, journey
        if sent.sampled is not None:
            assert {"sample_rate", "sample_rand"} <= sent.context.keys(), journey


@pytest.mark.parametrize("name", CHAINS)
def test_chains(fleet, node, name):
    """A trace that three services share is one trace, with one decision and one context."""
    journey = CHAINS[name]
    require(node, [journey])
    links = [journey.link(fleet, index) for index in range(len(journey.stops))]
    for link in links[bool(journey.case == "keep") :]:  # the head has nothing to keep
        said = link.judge()
        assert (said["trace"], said["decision"]) == ("yes", "yes"), link
        assert said["sampling context"] == "yes" or link.stop == "opentelemetry", link
    assert [len(link.records) for link in links] == [1] * len(links), links
    assert len({record.trace for link in links for record in link.records}) == 1
