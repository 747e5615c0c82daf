"""Undo a request's Content-Encoding without letting a small body become a huge one."""

from __future__ import annotations

import zlib

from otel_sentry.cli.tail._items import Refused

_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """
    Return the decompressed body.

    Args:
        body: What came over the wire.
        encoding: The Content-Encoding header.
        limit: The most bytes that may come out; nothing beyond it is ever decompressed.

    Raises:
        Refused: 413 above the limit, 415 for an unknown encoding, 400 for broken data.
    """
    encoding = encoding.strip().lower()
    try:
        if encoding in {"", "identity"}:
            return _checked(body, limit)
        if encoding == "gzip":
            return _inflate(body, _GZIP, limit)
        if encoding == "deflate":
            # RFC 9110 means zlib's format; some clients send the bare stream.
            wbits = _ZLIB if _has_zlib_header(body) else _RAW
            return _inflate(body, wbits, limit)
    except zlib.error as error:
        raise Refused(400, f"the body is not valid {encoding}") from error
    if encoding == "br":
        return _unbrotli(body, limit)
    raise Refused(415, "this Content-Encoding is unknown here: use gzip, br, deflate or none")


def _checked(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise Refused(413, f"the decompressed body is larger than {limit} bytes")
    return data


def _has_zlib_header(body: bytes) -> bool:
    """RFC 1950: method 8, and the two bytes as a number are divisible by 31."""
    return len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0  # noqa: PLR2004


def _inflate(body: bytes, wbits: int, limit: int) -> bytes:
    decompressor = zlib.decompressobj(wbits)
    data = _checked(decompressor.decompress(body, limit + 1), limit)
    if not decompressor.eof:
        raise Refused(400, "the compressed body ends early")
    return data


def _unbrotli(body: bytes, limit: int) -> bytes:
    try:
        import brotli
    except ImportError as error:
        reason = "br needs Brotli here (pip install 'brotli>=1.2'); send gzip instead"
        raise Refused(415, reason) from error
    decompressor = brotli.Decompressor()
    chunks, size, rest = [], 0, body
    try:
        while not decompressor.is_finished() and size <= limit:
            # Once the limit of one round is reached, the rest comes out for empty input.
            chunk = decompressor.process(rest, output_buffer_limit=1 << 20)
            if not chunk and decompressor.can_accept_more_data():
                break
            chunks.append(chunk)
            size, rest = size + len(chunk), b""
    except brotli.error as error:
        raise Refused(400, "the body is not valid br") from error
    except TypeError as error:  # Brotli before 1.2 cannot stop in time
        reason = "br needs a newer Brotli here (pip install 'brotli>=1.2'); send gzip instead"
        raise Refused(415, reason) from error
    data = _checked(b"".join(chunks), limit)
    if not decompressor.is_finished():
        raise Refused(400, "the compressed body ends early")
    return data
