"""
Send an exception once, however many places capture it on its way up.

sentry-sdk remembers the last exception in a context variable, which is another one in a thread pool
or in a task of an exception group: an exception that is logged there and raised on, or that passes
the border of a mounted application, arrives twice.
"""

from __future__ import annotations

import weakref
from itertools import count
from typing import Any

from otel_sentry.errors.filters import leaves

_numbers = count()
_dictionary_of: Any = BaseException.__dict__["__dict__"].__get__  # whatever a class makes of it


class Sent:
    """The exceptions that one client has sent; another one sends them, too."""

    def __init__(self) -> None:
        # Of exceptions that take a weak reference, those of classes that are written in Python:
        # nothing is put into them that an application might print, pickle or answer with. Each
        # lives as long as its exception, and needs no bound.
        self._marks: dict[int, tuple[weakref.ref[BaseException], str]] = {}
        # All others take no weak reference, and are marked themselves.
        self._name = f"__otel_sentry_sent_{next(_numbers)}__"

    def holds(self, error: BaseException, unit: str) -> bool:
        """
        Return whether this exception, or all that this group holds, was sent in this unit of work.

        An application may raise one and the same object in many requests: each is an event.
        """
        return all(_is_same(self._mark_of(one), unit) for one in leaves(error))

    def add(self, error: BaseException, unit: str) -> None:
        """Remember that this exception, or all that this group holds, is sent in a unit of work."""
        for one in leaves(error):
            if unit or self._mark_of(one) is None:
                self._mark(one, unit)

    def _mark_of(self, error: BaseException) -> str | None:
        reference, unit = self._marks.get(id(error), (None, None))
        if reference is not None and reference() is error:
            return unit
        mark: str | None = _dictionary_of(error).get(self._name)
        return mark

    def _mark(self, error: BaseException, unit: str) -> None:
        key, marks = id(error), self._marks
        try:
            reference = weakref.ref(error, lambda _: marks.pop(key, None))
        except TypeError:
            _dictionary_of(error)[self._name] = unit
        else:
            marks[key] = (reference, unit)


def _is_same(sent: str | None, unit: str) -> bool:
    return sent is not None and (sent == unit or not (sent and unit))
