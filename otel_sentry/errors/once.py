"""
Send an exception once, however many places capture it on its way up.

sentry-sdk remembers the last exception in a context variable, which is another one in a thread pool
or in a task of an exception group: an exception that is logged there and raised on, or that passes
the border of a mounted application, arrives twice.
"""

from __future__ import annotations

from otel_sentry.errors.filters import leaves

# In the exception itself: it lives as long as that, and needs no bound.
_MARK = "__otel_sentry_sent__"


def was_sent(error: BaseException, unit: str) -> bool:
    """
    Return whether this exception, or all that this group holds, was sent in this unit of work.

    An application may raise one and the same object in many requests: each is an event.
    """
    return all(_is_same(vars(one).get(_MARK), unit) for one in leaves(error))


def mark_sent(error: BaseException, unit: str) -> None:
    """Remember that this exception, and all that this group holds, is sent."""
    for one in leaves(error):
        vars(one)[_MARK] = unit


def _is_same(sent: str | None, unit: str) -> bool:
    return sent is not None and (sent == unit or not (sent and unit))
