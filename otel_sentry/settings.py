"""Read the configuration: environment variables → one frozen :class:`Settings`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from urllib.parse import unquote

from otel_sentry.dsn import mask_dsn
from otel_sentry.variables import VARIABLES, read, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Settings:
    """What the bridge is told. Defaults: :data:`otel_sentry.variables.VARIABLES`."""

    dsn: str
    """Where Sentry is; empty: the bridge is off unless a backend needs none."""

    environment: str
    release: str | None
    sample_rate: float
    traces_sample_rate: float
    send_default_pii: bool
    debug: bool

    traces_exporter: tuple[str, ...]
    """The backends, in the order given; ``none`` is an empty tuple."""

    traces_sampler: str
    log_level: str
    sdk_disabled: bool

    org_id: str
    strict_trace_continuation: bool
    trace_propagation_targets: tuple[str, ...] | None
    """Parts of, or patterns for, the URLs that traces are sent to; ``None``: all."""

    sampling_rules: str
    keep_errors: bool
    keep_slow: float
    """In seconds; 0: whether a segment took long does not matter."""

    scrub_keys: tuple[str, ...]
    keep_keys: tuple[str, ...]
    scrub_user: bool
    infrastructure_spans: bool
    max_spans: int
    connections: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """
        Read the settings from ``environ`` (``os.environ`` or, in tests, a dictionary).

        Never raises: a value that does not parse warns once (name, value, what is used instead,
        how to fix it) and counts as unset.
        """
        values = {
            variable.field: read(variable, environ) for variable in VARIABLES if variable.field
        }
        resource = _resource_attributes(text_of("OTEL_RESOURCE_ATTRIBUTES", environ))
        values["environment"] = (
            values["environment"]
            or resource.get("deployment.environment.name")
            or resource.get("deployment.environment")
            or text_of("ENVIRONMENT", environ)
            or "production"
        )
        values["release"] = values["release"] or resource.get("service.version") or None
        return cls(**values)

    @property
    def enabled(self) -> bool:
        """Whether anything is to be set up: a DSN, or a backend that needs none."""
        if self.sdk_disabled:
            return False
        return bool(self.dsn or self.backends)

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends that can work with this DSN; without one, only those that need none."""
        if self.dsn:
            return self.traces_exporter
        return tuple(name for name in self.traces_exporter if name not in NEED_DSN)

    def describe(self) -> dict[str, str]:
        """Return every setting as text with the DSN's key masked, for logs and ``doctor``."""
        shown = {field.name: str(getattr(self, field.name)) for field in fields(self)}
        shown["dsn"] = mask_dsn(self.dsn)
        return shown


NEED_DSN = frozenset({"sentry", "sentry_otlp", "sentry_sdk"})
"""Backends that do nothing without a DSN."""


def _resource_attributes(text: str) -> dict[str, str]:
    """Parse ``OTEL_RESOURCE_ATTRIBUTES`` as the resource SDK specification has it."""
    pairs = (part.partition("=") for part in text.split(","))
    return {key.strip(): unquote(value.strip()) for key, found, value in pairs if found}
