"""Read the headers of one hop as strictly as the specifications have them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

FIELDS = ("sentry-trace", "traceparent", "tracestate", "baggage")

_SENTRY_TRACE = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})(?:-([01]))?")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True)
class Headers:
    """What one request or message carried, each line of a header on its own."""

    lines: dict[str, list[str]]

    @property
    def once(self) -> bool:
        """Whether no header is there twice."""
        return all(len(lines) <= 1 for lines in self.lines.values())

    @property
    def sentry(self) -> tuple[str, bool | None] | None:
        """Trace and decision of ``sentry-trace``."""
        found = _SENTRY_TRACE.fullmatch(self._first("sentry-trace"))
        return found and (found[1], {"1": True, "0": False, None: None}[found[3]])

    @property
    def w3c(self) -> tuple[str, bool | None] | None:
        """Trace and decision of ``traceparent``."""
        found = _TRACEPARENT.fullmatch(self._first("traceparent"))
        return found and (found[1], bool(int(found[3], 16) & 1))

    @property
    def trace(self) -> str | None:
        """The trace; ``None``: none."""
        said = self.sentry or self.w3c
        return said and said[0]

    @property
    def sampled(self) -> bool | None:
        """The decision; ``None``: open."""
        said = self.sentry or self.w3c
        return said and said[1]

    @property
    def agree(self) -> bool:
        """Whether both trace headers, where there are two, say the same."""
        if not self.sentry or not self.w3c:
            return True
        # W3C has no "undecided".
        return self.sentry == self.w3c or self.sentry == (self.w3c[0], None)

    @property
    def context(self) -> dict[str, str]:
        """The dynamic sampling context."""
        return {k[7:]: v for k, v in self._entries() if k.startswith("sentry-")}

    @property
    def baggage(self) -> dict[str, str]:
        """The application's baggage."""
        return {k: v for k, v in self._entries() if not k.startswith("sentry-")}

    @property
    def vendors(self) -> list[str]:
        """The entries of the tracestate that are not OpenTelemetry's."""
        parts = ",".join(self.lines.get("tracestate", [])).split(",")
        return [
            part.strip() for part in parts if part.strip() and not part.strip().startswith("ot=")
        ]

    def _first(self, name: str) -> str:
        return next(iter(self.lines.get(name, [])), "")

    def _entries(self) -> list[tuple[str, str]]:
        members = ",".join(self.lines.get("baggage", [])).split(",")
        pairs = (member.partition(";")[0].partition("=") for member in members)
        return [(unquote(k.strip()), unquote(v.strip())) for k, found, v in pairs if found]


def numbers_agree(context: dict[str, str]) -> bool:
    """Return whether ``sample_rand < sample_rate`` exactly if ``sampled``, where all are there."""
    if not {"sample_rand", "sample_rate", "sampled"} <= context.keys():
        return True
    below = float(context["sample_rand"]) < float(context["sample_rate"])
    return below is (context["sampled"] == "true")
