from __future__ import annotations

import pytest
from celery.exceptions import ChordError
from fastapi import HTTPException
from fastapi.exceptions import (
    RequestValidationError,
    ResponseValidationError,
    WebSocketRequestValidationError,
)
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.exceptions import WebSocketException

from otel_sentry.errors.filters import (
    is_expected,
    is_logger,
    is_said_by_an_exception,
    leaves,
)
from otel_sentry.options import Options
from tests.errors.groups import Group


class TeapotError(HTTPException):
    """An application's own kind of answer."""

    def __init__(self):
        super().__init__(418)


class ApiError(Exception):
    """What a client library raises about another service's answer."""

    status_code = 404


class OutOfStockError(LookupError):
    """An application's own error."""


class SoldOutError(OutOfStockError):
    """A subclass of it."""


def invalid():
    """Return pydantic's error about a value that the service made."""

    class Model(BaseModel):
        number: int

    try:
        Model(number="none")
    except ValidationError as error:
        return error
    raise AssertionError


CASES = [
    *((HTTPException(code), True) for code in (400, 402, 404, 405, 409, 410, 418, 422, 429, 499)),
    *((HTTPException(code), False) for code in (401, 403, 500, 501, 502, 503, 504, 599)),
    *((StarletteHTTPException(code), True) for code in (400, 404, 429)),
    *((StarletteHTTPException(code), False) for code in (401, 403, 500, 503)),
    (TeapotError(), True),
    (RequestValidationError([]), True),
    (WebSocketRequestValidationError([]), True),
    (ResponseValidationError([]), False),
    (invalid(), False),
    (WebSocketException(1008), False),
    (ApiError(), False),
    (ValueError(), False),
    (KeyboardInterrupt(), False),
    (Group("all", [HTTPException(404), RequestValidationError([])]), True),
    (Group("one", [HTTPException(404), ValueError()]), False),
    (Group("refused", [HTTPException(404), HTTPException(401)]), False),
    (Group("deep", [Group("inner", [HTTPException(404)]), HTTPException(429)]), True),
    (Group("deep", [Group("inner", [HTTPException(404), KeyError()]), HTTPException(429)]), False),
]


@pytest.mark.parametrize(("error", "expected"), CASES, ids=[repr(case[0]) for case in CASES])
def test_what_is_expected(error, expected):
    """Who asks wrongly is told by the answer; who is refused, and what fails, is sent."""
    assert is_expected(error, Options()) is expected


@pytest.mark.parametrize(
    ("ignored", "error", "expected"),
    [
        (OutOfStockError, OutOfStockError(), True),
        (OutOfStockError, SoldOutError(), True),
        (SoldOutError, OutOfStockError(), False),
        ("OutOfStockError", SoldOutError(), True),
        (f"{__name__}.OutOfStockError", SoldOutError(), True),
        ("other.OutOfStockError", SoldOutError(), False),
        ("builtins.LookupError", SoldOutError(), True),
        (OutOfStockError, Group("group", [SoldOutError(), HTTPException(404)]), True),
        (OutOfStockError, Group("group", [SoldOutError(), KeyError()]), False),
        (Group, Group("group", [KeyError()]), True),
    ],
)
def test_ignored_errors(ignored, error, expected):
    """Classes and names, with and without module, name their subclasses, too."""
    assert is_expected(error, Options(ignore_errors=[ignored])) is expected


def test_status_codes_are_the_users_choice():
    """The codes given replace the default ones."""
    options = Options(failed_request_status_codes={404})
    assert [is_expected(HTTPException(code), options) for code in (404, 401, 500)] == [
        False,
        True,
        True,
    ]


def test_a_noisy_error():
    """The application's predicate decides, about each exception of a group, too."""
    options = Options(is_noisy_error=lambda error: "noise" in str(error))

    assert is_expected(ValueError("noise"), options)
    assert not is_expected(ValueError("signal"), options)
    assert is_expected(Group("group", [ValueError("noise")]), options)
    assert not is_expected(Group("group", [ValueError("noise"), ValueError()]), options)


def test_a_predicate_that_raises():
    """A predicate that fails does not cost the error."""
    assert not is_expected(ValueError(), Options(is_noisy_error=lambda error: error.no))


def test_a_group_that_is_too_deep():
    """Groups in groups end somewhere; what is deeper is sent."""
    error = HTTPException(404)
    for _ in range(100):
        error = Group("group", [error])
    assert not is_expected(error, Options())
    assert len(list(leaves(error))) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("shop", True), ("shop.cart", True), ("shops", False), ("", False), (None, False)],
)
def test_loggers(name, expected):
    """A logger stands for those below it, not for those whose names begin alike."""
    assert is_logger(name, ["shop"]) is expected


@pytest.mark.parametrize(
    ("logger", "message", "expected"),
    [
        ("celery.worker.request", "Hard time limit (%ss) exceeded for %s[%s]", True),
        ("celery.worker.request", "Task handler raised error: %r", False),
        ("multiprocessing", "Process %r pid:%r exited with %r", True),
        ("uvicorn.error", "Application startup failed. Exiting.", True),
        ("uvicorn.error", "Traceback (most recent call last): starlette/routing.py", True),
        ("uvicorn.error", "Traceback (most recent call last): other.py", False),
        ("shop", "Application startup failed. Exiting.", False),
        (None, None, False),
    ],
)
def test_lines_that_repeat_an_exception(logger, message, expected):
    """A log line goes that says what arrives as an exception; any other one stays."""
    event = {"logger": logger, "logentry": {"message": message}}

    assert is_said_by_an_exception(event) is expected


def test_the_error_of_a_chord():
    """A chord fails for its task's error, which is sent; one that fails by itself is sent."""
    of_task, own = ChordError("Dependency 1 raised ValueError()"), ChordError("Join error")
    of_task.__cause__ = ValueError()

    assert is_expected(of_task, Options())
    assert not is_expected(own, Options())
