from __future__ import annotations

import http.client
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_sentry._http import _MAX_FIELDS, _MAX_LINE, _Response, parse_headers

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-", min_size=1, max_size=12)
VALUE = st.text(st.characters(codec="latin-1", exclude_categories=["C", "Z"]), max_size=20)


@given(st.lists(st.tuples(TOKEN, VALUE), max_size=20))
def test_the_same_fields_as_the_standard_library(fields):
    """Our parser reads what http.client's reads, repeated fields included."""
    raw = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1") + b"\r\n"

    ours = parse_headers(io.BytesIO(raw))
    theirs = http.client.parse_headers(io.BytesIO(raw))

    assert ours.items() == [(name, value.strip()) for name, value in theirs.items()]
    for name, _ in fields:
        assert ours[name.upper()] == theirs[name.upper()].strip()


@given(st.binary(max_size=300))
def test_any_bytes(raw):
    """Whatever a far end sends as header fields, nothing but HTTPException is raised."""
    parse_headers(io.BytesIO(raw))


@pytest.mark.parametrize("raw", [b"a: b\r\n" * (_MAX_FIELDS + 1), b"a" * (_MAX_LINE + 1)])
def test_limits(raw):
    """A far end cannot make us read without end."""
    with pytest.raises(http.client.HTTPException):
        parse_headers(io.BytesIO(raw))


class Socket:
    """As much of a socket as a response reads from."""

    def __init__(self, raw):
        self.raw = raw

    def makefile(self, _mode):
        """Return the bytes as a file."""
        return io.BytesIO(self.raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Sentry-Rate-Limits: 60:error\r\n\r\nhello",
        b"HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_whole_responses(raw):
    """A response reads as the standard library reads it: status, fields, body, keep-alive."""
    seen = []
    for response_class in (http.client.HTTPResponse, _Response):
        response = response_class(Socket(raw), method="POST")
        response.begin()
        fields = sorted(response.headers.items())
        seen.append((response.status, response.reason, fields, response.will_close))
        seen[-1] += (response.read(),)

    assert seen[0] == seen[1]
