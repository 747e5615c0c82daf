"""Ask whether an endpoint takes connections."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from otel_sentry.cli.doctor._finding import Finding, error, ok

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

_TIMEOUT_SECONDS = 3.0
_PORTS = {"http": 80, "https": 443}


def endpoint_findings(what: str, url: str, situation: Situation) -> Iterator[Finding]:
    """
    Say whether the host of ``url`` takes a connection; nothing is sent over it.

    One on another machine is asked only if the user allowed it: finding its address and connecting
    to it leaves the machine.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
    if not (situation.connect or _is_here(host)):
        yield ok(f"{what} at {host}:{port}: not asked whether it answers (--connect asks)")
        return
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        yield error(
            f"{what} at {host}:{port} does not answer: {reason}",
            "otel-sentry tail" if _is_here(host) else f"curl -v {parts.scheme}://{host}:{port}/",
        )
    else:
        yield ok(f"{what} at {host}:{port} answers")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
