"""
Post to Sentry with as little as that takes.

urllib3 opens the connections: addresses, timeouts, socket options and TLS are its affair. A request
is written here, in one piece; the answer is read by ``http.client``, on which urllib3 is built.
What they do beyond that (retries, redirects, decoding, streams) is not used here, and takes three
quarters of the CPU time of a request.

``http.client`` parses the header fields of each answer as those of an e-mail, which takes half of
the rest. Here a field is a line with a colon (RFC 9112, section 5); everything else of the answer
is read by ``http.client``'s own code.
"""

from __future__ import annotations

import io
import time
from contextlib import suppress
from http.client import HTTPException, HTTPMessage, HTTPResponse, LineTooLong
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from urllib3.util.connection import is_connection_dropped
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedIOBase

_MAX_LINE = 65_536
_MAX_FIELDS = 100

_FRESH_SECONDS = 1.0
"""How long a connection is idle until it is looked at whether the far end has closed it."""

_MAX_ANSWER_BYTES = 64 * 1024
"""How much of an answer is read; Sentry's are a hundred bytes, a broken proxy's have no end."""


def parse_headers(fp: BufferedIOBase) -> HTTPMessage:
    """
    Read header fields to the empty line that ends them; as ``http.client.parse_headers``.

    Raises:
        http.client.LineTooLong: A line is longer than 64 KiB.
        http.client.HTTPException: There are more than 100 fields.
    """
    message = HTTPMessage()
    for _ in range(_MAX_FIELDS + 1):
        line = fp.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise LineTooLong("header line")  # noqa: EM101, TRY003 - as http.client does
        if line in {b"\r\n", b"\n", b""}:
            return message
        name, is_field, value = line.decode("iso-8859-1").partition(":")
        if is_field:
            with suppress(ValueError):  # from Python 3.14 on a name that is none is refused
                message[name.strip()] = value.strip()
    msg = f"got more than {_MAX_FIELDS} headers"
    raise HTTPException(msg)


def _with_our_parser(method: Any) -> Any:
    """Return the method with our parser in place of the one that it looks up by name."""
    scope = {**method.__globals__, "parse_headers": parse_headers}
    return FunctionType(method.__code__, scope, method.__name__, method.__defaults__)


class _Response(HTTPResponse):
    begin = _with_our_parser(HTTPResponse.begin)


class _Hurried(io.RawIOBase):
    """A socket of which an answer is read by a deadline, however many pieces it comes in."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        read: int = self._sock.recv_into(buffer)
        return read


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


class Answer(NamedTuple):
    """As much of an answer as sentry-sdk looks at."""

    status: int
    headers: HTTPMessage
    data: bytes

    def close(self) -> None:
        """Do nothing: it was read."""


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
            sock: Any = connection.sock if deadline is None else _Hurried(connection.sock, deadline)
            response = _Response(sock, method="POST")
            response.begin()
            data = response.read(_MAX_ANSWER_BYTES)
        except BaseException:
            connection.close()
            raise
        if response.isclosed() and not response.will_close:  # read to its end, as a rule
            self._idle.append((time.monotonic(), connection))
        else:
            response.close()
            connection.close()
        return Answer(response.status, response.headers, data)

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
