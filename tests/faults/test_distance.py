"""Sentry is far away: everything arrives, and errors before what was there already."""

from __future__ import annotations

from datetime import datetime

from tests.faults.far_end import Mode

ROUND_TRIP_SECONDS = 0.05
CONNECTIONS = 16  # by default


def test_everything_arrives_from_afar(far_end, application):
    """With Sentry 50 ms away a thousand transactions, made at 200 a second, and errors arrive."""
    far_end.become(Mode(delay=ROUND_TRIP_SECONDS))
    application.do("work", transactions=1000, errors=50, rate=200)
    assert application.do("flush", seconds=10) == {"flushed": True}

    assert len(far_end.receiver.transactions()) == 1000
    assert len(far_end.receiver.errors()) == 50
    assert far_end.lost("transaction") == far_end.lost("error") == 0


def test_transactions_do_not_hold_up_errors(far_end, application):
    """While an error is on its way few of 300 transactions a second come in, queued or new."""
    far_end.become(Mode(delay=ROUND_TRIP_SECONDS))
    application.do("work", errors=1)  # sentry-sdk takes a tenth of a second for its first one
    far_end.receiver.wait_for(lambda seen: len(seen.errors()) == 1, 20, "the first error")
    before = len(far_end.arrivals)
    application.do("work", errors=10, transactions=600, rate=300)
    far_end.receiver.wait_for(lambda seen: len(seen.errors()) == 11, 20, "errors")

    made = sorted(_time_of(error) for error in far_end.receiver.errors()[1:])
    arrivals = list(far_end.arrivals)[before:]
    arrived = [when for when, kind in arrivals if kind == "error"]
    overtaken_by = [
        sum(kind == "transaction" and here <= when < there for when, kind in arrivals)
        for here, there in zip(made, arrived, strict=True)
    ]
    # Not seconds: on a full machine everything may stop for one, transactions, too. One more thread
    # is for errors alone, so that no more come before it than are under way.
    assert max(overtaken_by) <= CONNECTIONS, overtaken_by
    assert len(arrivals) > CONNECTIONS * 10


def _time_of(error) -> float:
    return datetime.fromisoformat(error["timestamp"].replace("Z", "+00:00")).timestamp()
