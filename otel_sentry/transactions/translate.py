"""
Translate one span into Sentry's words, scrubbed; remember it for spans that say the same.

Most spans of a service say what thousands before them said: the same statement to the same
database. Looking a translation up costs a tenth of making it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from otel_sentry._json import encode
from otel_sentry.semantics import MAX_NAME, extra_data, infer, sentry_status
from otel_sentry.transactions._plain import BRIEF_TEXT, plain_mapping, plain_text, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_sentry.scrubbing import Scrubber

_MAX_REMEMBERED = 1024
_MAX_REMEMBERED_CHARACTERS = 2000  # of one span; with the number above it bounds the memory

# A query's description says them, too.
_STATEMENTS = frozenset({"db.query.text", "db.statement"})

# Libraries that make spans without an instrumentation, by the names of their scopes.
_INSTRUMENT_THEMSELVES = {"elasticsearch-api": "elasticsearch", "fastapi": "fastapi"}

# Each has something of its own: the client's port, the message's id.
_NEVER_ALIKE = (SpanKind.SERVER, SpanKind.CONSUMER, SpanKind.PRODUCER)


@dataclass
class Words:
    """What a span says, in Sentry's words."""

    name: str
    """Name of the transaction, were the span its root."""

    source: str
    fields: dict[str, Any]
    """``op``, ``status``, ``origin``, ``description`` and ``data``, as they stand in a span."""

    is_noise: bool

    meta: dict[str, Any] = field(default_factory=dict)
    """Which rules removed something from the fields, as Sentry's ``_meta`` says it."""

    secrets: frozenset[str] = frozenset()
    """What the span's route says to be secret in its path: wherever else the span says it."""

    @cached_property
    def text(self) -> str:
        """The fields as members of a JSON object, without its braces."""
        return encode(self.fields)[1:-1]

    @cached_property
    def brief(self) -> str:
        """The same with each statement said once, and with shorter data."""
        description = self.fields["description"]
        data = {
            key: value
            for key, value in self.fields["data"].items()
            if key not in _STATEMENTS or value != description
        }
        return encode({**self.fields, "data": shorten(data, BRIEF_TEXT)})[1:-1]


class Translator:
    """
    Translate finished spans; safe for one thread.

    What it returns is shared between events: it must not be changed in place.

    Args:
        scrubber: Takes secrets out.
        is_noise: Tells the spans that are left out.
    """

    def __init__(
        self, scrubber: Scrubber, is_noise: Callable[[ReadableSpan], bool] = lambda _: False
    ) -> None:
        self._scrubber = scrubber
        self._is_noise = is_noise
        self._known: dict[Any, Words] = {}  # bounded by the two numbers above
        self._resource: tuple[Any, dict[str, Any]] = (None, {})

    def __call__(self, span: ReadableSpan) -> Words:
        """Return the span's translation."""
        attributes: Any = span.attributes
        # One copy: each look into OpenTelemetry's own mapping costs a Python call.
        said = attributes.copy() if attributes else {}
        kind = kind_of(span)
        if kind in _NEVER_ALIKE:
            return self._translate(span, said)
        status, scope = span.status, span.instrumentation_scope
        values = said.values()
        types = tuple(map(type, values))
        if tuple in types:
            return self._translate(span, said)
        key = (
            span.name,
            kind._value_,  # an enumeration's members hash themselves in Python
            scope.name if scope is not None else None,
            scope.version if scope is not None else None,
            status.status_code._value_,
            status.description,
            tuple(said),
            tuple(values),
            self._scrubber.callback,  # init() may come after the first spans
            types,  # 1, 1.0 and True are equal, and not the same to say
        )
        try:
            words = self._known.get(key)
        except TypeError:  # a mapping among the values
            return self._translate(span, said)
        if words is None:
            words = self._translate(span, said)
            if _holds_nothing_removed(words, said) and _size(said) <= _MAX_REMEMBERED_CHARACTERS:
                if len(self._known) >= _MAX_REMEMBERED:
                    self._known.clear()
                self._known[key] = words
        return words

    def attributes(
        self, attributes: Mapping[str, Any], secrets: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """Return attributes of events and links, plain and scrubbed."""
        scrubbed: dict[str, Any] = shorten(
            self._scrubber.attributes(plain_mapping(attributes), secrets)
        )
        return scrubbed

    def text(self, text: Any, secrets: frozenset[str] = frozenset()) -> str:
        """Return a free text, plain and scrubbed; an application may have given anything."""
        shortened: str = shorten(self._scrubber.text(plain_text(text), secrets))
        return shortened

    def remarks(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return which rules removed something from parts of an event, as Sentry's ``_meta``."""
        return self._scrubber.remarks(parts)

    def resource(self, resource: Resource) -> dict[str, Any]:
        """Return the resource's attributes; nearly always those of the last call."""
        seen = (resource, self._scrubber.callback)
        if self._resource[0] != seen:
            self._resource = (seen, self.attributes(resource.attributes))
        return self._resource[1]

    def _translate(self, span: ReadableSpan, said: dict[str, Any]) -> Words:
        scrub = self._scrubber
        attributes = plain_mapping(said)
        name = plain_text(span.name)
        kind = kind_of(span)
        meaning = infer(name, kind, attributes)
        if len(meaning.name) >= MAX_NAME:  # it may be cut in the middle of a secret
            whole = infer(scrub.text(name), kind, scrub.attributes(attributes))
            meaning = meaning._replace(name=whole.name)
        description = meaning.description
        system = attributes.get("db.system.name", attributes.get("db.system"))
        secrets = scrub.path_secrets(attributes)
        fields = {
            "op": meaning.op,
            "status": sentry_status(span.status, attributes),
            "origin": _origin(span),
            "description": shorten(scrub.description(meaning.op, description, system, secrets)),
            "data": shorten(scrub.attributes(_data(span, attributes))),
        }
        return Words(
            shorten(scrub.text(meaning.name, secrets)),
            meaning.source,
            fields,
            self._is_noise(span),
            scrub.remarks(fields),
            secrets,
        )


def kind_of(span: ReadableSpan) -> SpanKind:
    """Return the span's kind, where the application gave one."""
    kind = span.kind
    return kind if type(kind) is SpanKind else SpanKind.INTERNAL


def _holds_nothing_removed(words: Words, said: Mapping[str, Any]) -> bool:
    """Return whether the span held no secret: what is remembered must hold none either."""
    data = words.fields["data"]
    return all(data.get(key) == value for key, value in said.items())


def _size(said: Mapping[str, Any]) -> int:
    return sum(len(value) for value in said.values() if isinstance(value, (str, tuple)))


def _data(span: ReadableSpan, attributes: dict[str, Any]) -> dict[str, Any]:
    kind = kind_of(span)
    data = {
        **attributes,
        **extra_data(kind, attributes),
        "sentry.kind": kind.name.lower(),
    }
    scope = span.instrumentation_scope
    if scope is not None:
        data["otel.scope.name"] = scope.name
        if scope.version:
            data["otel.scope.version"] = scope.version
    if span.status.description:
        data["sentry.status.message"] = plain_text(span.status.description)
    return data


def _origin(span: ReadableSpan) -> str:
    """Return ``auto.otel.fastapi`` (https://develop.sentry.dev/sdk/telemetry/traces/trace-origin/)."""
    scope = span.instrumentation_scope
    name = scope.name if scope is not None else ""
    _, is_contrib, library = name.partition("opentelemetry.instrumentation.")
    library = library.partition(".")[0] if is_contrib else _INSTRUMENT_THEMSELVES.get(name, "")
    return f"auto.otel.{library}" if library else "manual.otel"
