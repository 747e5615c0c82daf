"""
Read the answers of Sentry without Python's e-mail parser.

``http.client`` parses the header fields of each answer as those of an e-mail, which takes nearly
half of the CPU time of a request. Here a field is a line with a colon (RFC 9112, section 5);
everything else of the answer is read by ``http.client``'s own code.
"""

from __future__ import annotations

from http.client import HTTPException, HTTPMessage, HTTPResponse, LineTooLong
from types import FunctionType
from typing import TYPE_CHECKING, Any

from urllib3 import Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    from io import BufferedIOBase

_MAX_LINE = 65_536
_MAX_FIELDS = 100

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
            message[name.strip()] = value.strip()
    msg = f"got more than {_MAX_FIELDS} headers"
    raise HTTPException(msg)


def _with_our_parser(method: Any) -> Any:
    """Return the method with our parser in place of the one that it looks up by name."""
    scope = {**method.__globals__, "parse_headers": parse_headers}
    return FunctionType(method.__code__, scope, method.__name__, method.__defaults__)


class _Response(HTTPResponse):
    begin = _with_our_parser(HTTPResponse.begin)


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


def read_answers_fast(pool: Any) -> None:
    """Let a connection pool of urllib3 make connections that read answers as above."""
    secure = issubclass(pool.ConnectionCls, HTTPSConnection)
    pool.ConnectionCls = _SecureConnection if secure else _Connection


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


def post(pool: Any, path: str, body: Any, headers: Any, seconds: float | None) -> Any:
    """
    Post once, follow no redirect, and read a bounded part of the answer.

    Args:
        pool: A connection pool of urllib3.
        path: Where to, on the pool's host.
        body: What is sent.
        headers: The header fields.
        seconds: How long connecting and each wait for the far end may take; ``None``: the pool's.
    """
    limit = {} if seconds is None else {"timeout": Timeout(total=seconds)}
    answer = pool.urlopen(
        "POST",
        path,
        body=body,
        headers=headers,
        retries=False,
        preload_content=False,
        decode_content=False,
        **limit,
    )
    answer.read(_MAX_ANSWER_BYTES)  # as a rule to its end: then the connection is used again
    return answer
