"""Stand between two hops, or after the last: keep the raw headers, and pass all on as it came."""

from __future__ import annotations

import json
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.end_to_end.neighbours.headers import FIELDS, Headers

if TYPE_CHECKING:
    from typing_extensions import Self


def send(plan: str, lines: list[tuple[str, str]]) -> int:
    """Go to the first hop of a plan with these lines, and no others that matter."""
    following, _, rest = plan.partition("|")
    url = urlsplit(following)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        connection.putrequest("GET", url.path)
        for name, value in [*lines, ("x-next", rest)]:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


class Tap:
    """A server that keeps what passes through it, by the mark of the hop; a context manager."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._seen: dict[str, Headers] = {}  # bound: the test's own journeys
        self.messages: dict[str, Headers] = {}
        tap = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers, mark = self.headers, self.path.rpartition("/")[2]
                tap._keep(mark, headers.items(), json.loads(headers.get("x-message", "[]")))
                lines = [(k, v) for k, v in headers.items() if k.lower() in FIELDS]
                plan = headers.get("x-next")
                self.send_response(send(plan, lines) if plan else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, marks: set[str]) -> dict[str, Headers]:
        """Return what passed, once all marks have."""
        with self._arrived:
            done = self._arrived.wait_for(lambda: marks <= self._seen.keys(), 30)
            assert done, f"never came by: {sorted(marks - self._seen.keys())}"
            return dict(self._seen)

    def _keep(self, mark: str, lines, message: list[dict[str, str]]) -> None:
        found = {name: [v for k, v in lines if k.lower() == name] for name in FIELDS}
        with self._arrived:
            self._seen[mark] = Headers(found)
            if message:
                # A worker reads one of two levels; if they differ, it is as if a line were twice.
                self.messages[mark] = Headers(
                    {n: sorted({one[n] for one in message if n in one}) for n in FIELDS}
                )
            self._arrived.notify_all()
