"""
A far end that answers at once, for all contenders of a run: Sentry envelopes and OTLP over HTTP.

It runs in a process of its own. While something is measured it only keeps bodies, which takes
about ten microseconds a request; it reads them when it is asked what arrived. Each contender sends
to a project number of its own: `/api/<project>/envelope/`, `/api/<project>/.../v1/traces`.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
import zlib
from collections import Counter

# Logfire sends to the root of its server; its token names the project instead.
_PROJECT = re.compile(rb" /api/(\d+)/|\r\nauthorization: *project-(\d+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ENCODING = re.compile(rb"\r\ncontent-encoding: *(\w+)", re.IGNORECASE)
# Transactions that are no request and no task: Redis commands of Celery's own, mostly.
_SERVES = re.compile(r"(GET|POST) /|/|run/|service\.")
# Logfire asks for the name of its project; nobody else reads the answer.
_BODY = b'{"project_name":"bench","project_url":"http://127.0.0.1"}'


def _answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Sink:
    """The far end's process, seen from the harness; a context manager."""

    def __enter__(self):
        self._process = subprocess.Popen([sys.executable, __file__], stdout=-1, text=True)
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    def dsn(self, project: int) -> str:
        """Return the DSN of a project."""
        return f"http://public@127.0.0.1:{self.port}/{project}"

    def otlp(self, project: int) -> str:
        """Return the OTLP endpoint of a project, without /v1/traces."""
        return f"http://127.0.0.1:{self.port}/api/{project}"

    def arrived(self) -> dict[int, Counter]:
        """Return what has arrived since the last time, by project; see `_read`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/arrived") as answer:
            return {int(project): Counter(it) for project, it in json.load(answer).items()}


class _Connection(asyncio.Protocol):
    bodies: list[tuple[int, bytes, bytes]] = []  # noqa: RUF012 - the process has one list

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n") + 4) > 3:
            head = self._received[:end]
            found = _LENGTH.search(head)
            size = int(found[1]) if found else 0
            if len(self._received) < end + size:
                return
            body = self._received[end : end + size]
            self._received = self._received[end + size :]
            self._transport.write(self._serve(head, body))

    def _serve(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET /arrived"):
            counts: dict[int, Counter] = {}
            for project, encoding, sent in self.bodies:
                counts.setdefault(project, Counter()).update(_read(encoding, sent))
            self.bodies.clear()
            return _answer(json.dumps(counts).encode())
        if body:
            found, encoding = _PROJECT.search(head), _ENCODING.search(head)
            # Compressed protobuf and envelopes look alike; the path tells them apart.
            kind = b"otlp" if b"/v1/" in head.partition(b"\r\n")[0] else b"envelope"
            project = int(found[1] or found[2])
            self.bodies.append((project, kind + b":" + (encoding[1] if encoding else b""), body))
        return _answer(_BODY)


def _read(encoding: bytes, body: bytes) -> Counter:
    """
    Count what a body holds.

    Returns:
        `requests`; `roots`: transactions and OTLP spans that serve a request or a task;
        `spans`: roots included; `errors`; `lost`: what a client report calls lost for any reason
        but sampling.
    """
    kind, _, compression = encoding.partition(b":")
    if compression in {b"gzip", b"deflate"}:
        body = zlib.decompress(body, 47)
    elif compression == b"br":
        import brotli

        body = brotli.decompress(body)
    counts = Counter(requests=1, bytes=len(body))
    counts.update(_read_otlp(body) if kind == b"otlp" else _read_envelope(body))
    return counts


def _read_otlp(body: bytes) -> Counter:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans = [
        span
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        # Logfire also sends each span when it starts.
        if not any(
            it.key == "logfire.span_type" and it.value.string_value == "pending_span"
            for it in span.attributes
        )
    ]
    return Counter(roots=sum(span.kind in {2, 5} for span in spans), spans=len(spans))


def _read_envelope(body: bytes) -> Counter:
    counts: Counter = Counter()
    rest = body.partition(b"\n")[2]
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        header = json.loads(line)
        size = header.get("length", rest.find(b"\n") if b"\n" in rest else len(rest))
        payload, rest = rest[:size], rest[size:].removeprefix(b"\n")
        if header["type"] == "transaction":
            event = json.loads(payload)
            counts["roots"] += bool(_SERVES.match(event["transaction"]))
            counts["spans"] += 1 + len(event["spans"])
        elif header["type"] == "event":
            counts["errors"] += 1
        elif header["type"] == "client_report":
            for it in json.loads(payload).get("discarded_events", ()):
                if it["reason"] != "sample_rate" and it["category"] == "transaction":
                    counts["lost"] += it["quantity"]
    return counts


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
