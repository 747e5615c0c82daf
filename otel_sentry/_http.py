"""
Post to Sentry with as little as that takes.

urllib3 opens the connections: addresses, timeouts, socket options and TLS are its affair. A request
is written here, in one piece; what urllib3 does beyond that (retries, redirects, decoding, streams)
is not used, and takes three quarters of the CPU time of a request.

Nearly every answer is a few short lines that come in one piece, and is read here, too (RFC 9112,
sections 4 to 6). Every other one is the affair of ``http.client``, on which urllib3 is built: it
reads header fields as those of an e-mail, which takes as long as all the rest.
"""

from __future__ import annotations

import io
import re
import time
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, NamedTuple

from urllib3.util.connection import is_connection_dropped
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FRESH_SECONDS = 1.0
"""How long a connection is idle until it is looked at whether the far end has closed it."""

_MAX_ANSWER_BYTES = 64 * 1024
"""How much of an answer is read; Sentry's are a hundred bytes, a broken proxy's have no end."""

# 204 and 304 have no body, whatever they say of its length.
_STATUS_LINE = re.compile(r"HTTP/1\.1 ((?![23]04)[2-5]\d\d)(?: [ -~]*)?", re.ASCII)
_MAX_FIELDS = 100


class Fields(dict[str, str]):
    """The header fields of an answer, the first one of each name."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        for name, value in fields:
            self.setdefault(name.lower(), value.strip())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the first value of a field, however its name is written."""
        return super().get(name.lower(), default)


class Answer(NamedTuple):
    """As much of an answer as sentry-sdk looks at."""

    status: int
    headers: Fields
    data: bytes

    def close(self) -> None:
        """Do nothing: it was read."""


def whole_answer(received: bytes) -> Answer | None:
    """
    Return an answer that came in one piece, and after which the connection may be used again.

    ``None`` where this is anything but that, or may be.
    """
    head, end, data = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("iso-8859-1").split("\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if not end or status is None or len(lines) > _MAX_FIELDS:
        return None
    fields = Fields(line.partition(":")[::2] for line in lines)
    is_plain = (
        all(":" in line and not line[0].isspace() for line in lines)
        and head.count(b"\n") == head.count(b"\r") == len(lines)
        and "transfer-encoding" not in fields
        and fields.get("connection", "keep-alive").lower() == "keep-alive"
        and fields.get("content-length") == str(len(data))
    )
    return Answer(int(status[1]), fields, data) if is_plain else None


class _Received(io.RawIOBase):
    """
    What comes over a connection, by a deadline, however many pieces it comes in.

    Args:
        sock: The socket.
        deadline: Where there is one (``time.monotonic()``); else each wait has the socket's limit.
    """

    def __init__(self, sock: Any, deadline: float | None) -> None:
        self._sock, self._deadline = sock, deadline
        self.first = self._left = self._receive(io.DEFAULT_BUFFER_SIZE)

    def _receive(self, size: int) -> bytes:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
        received: bytes = self._sock.recv(size)
        return received

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._left[: len(buffer)] or self._receive(len(buffer))
        self._left = self._left[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _read(received: _Received) -> tuple[Answer, bool]:
    """Return an answer, and whether the connection may be used again."""
    whole = whole_answer(received.first)
    if whole is not None:
        return whole, True
    with HTTPResponse(received, method="POST") as response:  # type: ignore[arg-type] # it is read
        response.begin()
        data = response.read(_MAX_ANSWER_BYTES)
        is_usable = response.isclosed() and not response.will_close
        return Answer(response.status, Fields(response.headers.items()), data), is_usable


def read_certificates_once(manager: Any) -> None:
    """
    Let the connections of urllib3's pool manager share one TLS context.

    Each would read the list of trusted certificates by itself: 18 ms of CPU time and a megabyte.
    Where connections break as fast as they are opened that takes the CPU from the application.
    Not where the proxy is asked over TLS, too: urllib3 would verify that one differently.

    Raises:
        OSError: A file with certificates or keys cannot be read; the next connection tries again.
    """
    options = manager.connection_pool_kw
    if "ssl_context" in options or (manager.proxy and manager.proxy.scheme == "https"):
        return
    context: Any = create_urllib3_context()
    context.load_verify_locations(options["ca_certs"])
    if options.get("cert_file"):
        context.load_cert_chain(options["cert_file"], options.get("key_file"))
    # urllib3 sets that anew for each connection, while OpenSSL may read it in another thread.
    context.set_alpn_protocols(["http/1.1"])
    context.set_alpn_protocols = _leave_as_it_is
    options.update(ssl_context=context, ca_certs=None, cert_file=None, key_file=None)


def _leave_as_it_is(_protocols: list[str]) -> None:
    pass


class Connections:
    """
    The idle connections to one host, each used by one thread at a time, the last one first.

    Args:
        pool: A connection pool of urllib3, which makes them.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._host = f"[{pool.host}]" if ":" in pool.host else pool.host
        if pool.port != pool.ConnectionCls.default_port:
            self._host += f":{pool.port}"
        self._idle: list[tuple[float, Any]] = []  # since when; bound: the threads that post at once

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], seconds: float | None
    ) -> Answer:
        """
        Post once, follow no redirect, and read a bounded part of the answer.

        Args:
            path: Where to, on the pool's host.
            body: What is sent.
            headers: The header fields.
            seconds: How long it may take, but for resolving the name and trying more than one
                address of it; ``None``: the pool's total for connecting and each wait.

        Raises:
            OSError, urllib3.exceptions.HTTPError, http.client.HTTPException: It was not answered.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        seconds = self._pool.timeout.total if seconds is None else seconds
        connection = self._take()
        try:
            if connection.sock is None:
                connection.timeout = seconds
                connection.connect()
            elif connection.sock.gettimeout() != seconds:
                connection.sock.settimeout(seconds)
            # In one piece: where Sentry is near, a packet costs more than what it carries.
            connection.sock.sendall(self._head(path, headers, len(body)) + body)
            answer, is_usable = _read(_Received(connection.sock, deadline))
        except BaseException:
            connection.close()
            raise
        if is_usable:
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()
        return answer

    def _head(self, path: str, headers: Mapping[str, str], length: int) -> bytes:
        fields = {"Host": self._host, **headers, "Content-Length": length}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        if lines.count("\n") != len(fields):
            raise HTTPException("a header field has more than one line")  # noqa: EM101, TRY003
        return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")

    def _take(self) -> Any:
        while self._idle:
            try:
                since, connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - since < _FRESH_SECONDS or not is_connection_dropped(connection):
                return connection
            connection.close()
        return self._pool._new_conn()  # noqa: SLF001 - with the pool's address and TLS
