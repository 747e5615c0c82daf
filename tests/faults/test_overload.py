"""More is made than can be sent: whole transactions go, and each of them is counted."""

from __future__ import annotations

import os
from collections import Counter

from tests.faults.far_end import TAKE, Mode

THREADS, CHILDREN = 4, 99
# 100,000 spans in each thread take a minute: FAULTS_SPANS=100000 for what the docs say.
ROUNDS = int(os.environ.get("FAULTS_SPANS", "20000")) // (CHILDREN + 1)


def test_four_threads_as_fast_as_they_can(far_end, application):
    """Of four threads' spans each is sent or counted, and no transaction lacks a part."""
    application.do("work", transactions=ROUNDS, children=CHILDREN, threads=THREADS)
    assert application.do("flush", seconds=60) == {"flushed": True}

    sent = far_end.receiver.transactions()
    made = THREADS * ROUNDS
    assert {len(event["spans"]) for event in sent} <= {CHILDREN}
    assert len(sent) + far_end.lost("transaction") == made
    assert far_end.spans() + far_end.lost("span") == made * (CHILDREN + 1)
    assert set(Counter(reason for _, reason in far_end.counted())) <= {"queue_overflow"}
    ids = [event["contexts"]["trace"]["span_id"] for event in sent]
    assert len(ids) == len(set(ids))


def test_a_full_queue_drops_whole_transactions(far_end, application):
    """With nobody answering, what does not fit is dropped whole; what fits arrives whole."""
    far_end.become(Mode("hang"))
    application.do("work", transactions=500, children=4, threads=THREADS)
    application.do("flush", seconds=5)
    far_end.become(TAKE)
    assert application.do("flush", seconds=30) == {"flushed": True}

    sent = far_end.receiver.transactions()
    assert {len(event["spans"]) for event in sent} == {4}
    assert far_end.counted()["transaction", "queue_overflow"] > 500
    assert far_end.counted()["span", "queue_overflow"] == (
        5 * far_end.counted()["transaction", "queue_overflow"]
    )
    assert len(sent) + far_end.lost("transaction") == 2000
    assert far_end.spans() + far_end.lost("span") == 10_000
