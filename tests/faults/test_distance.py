"""Sentry is far away: everything arrives, and errors as fast as ever."""

from __future__ import annotations

from datetime import datetime

from tests.faults.far_end import Mode

ROUND_TRIP_SECONDS = 0.05


def test_everything_arrives_from_afar(far_end, application):
    """With Sentry 50 ms away a thousand transactions, made at 200 a second, and errors arrive."""
    far_end.become(Mode(delay=ROUND_TRIP_SECONDS))
    application.do("work", transactions=1000, errors=50, rate=200)
    assert application.do("flush", seconds=10) == {"flushed": True}

    assert len(far_end.receiver.transactions()) == 1000
    assert len(far_end.receiver.errors()) == 50
    assert far_end.lost("transaction") == far_end.lost("error") == 0


def test_transactions_do_not_hold_up_errors(far_end, application):
    """An error takes no longer to Sentry among 300 transactions a second than alone."""
    far_end.become(Mode(delay=ROUND_TRIP_SECONDS))
    alone = _seconds_to_arrival(far_end, application)
    among = _seconds_to_arrival(far_end, application, transactions=600, rate=300)

    # Behind the 600 on one connection the last would come after 28 seconds, the median after 14;
    # all are milliseconds. A full machine may stop for a moment, which two of ten meet.
    assert sorted(among)[7] < max(alone) + 10 * ROUND_TRIP_SECONDS
    assert max(among) < 5


def _seconds_to_arrival(far_end, application, **load):
    """Return how long each of ten errors takes from the exception to its arrival."""
    before = len(far_end.receiver.errors())
    application.do("work", **{"errors": 10, "rate": 50, **load})
    far_end.receiver.wait_for(lambda seen: len(seen.errors()) == before + 10, 20, "errors")
    made = [
        datetime.fromisoformat(e["timestamp"].replace("Z", "+00:00"))
        for e in far_end.receiver.errors()[before:]
    ]
    arrived = [when for when, kind in far_end.arrivals if kind == "error"][before:]
    return [there - here.timestamp() for here, there in zip(sorted(made), arrived, strict=True)]
