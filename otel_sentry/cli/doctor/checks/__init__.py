"""
The checks, in the order they are printed.

A check is a function that takes the situation and yields findings. It imports what it needs inside,
and may raise: that is a finding, too. A new one is a function in the module of its subject and a
row here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_sentry.cli.doctor.checks.application import application
from otel_sentry.cli.doctor.checks.backends import backends
from otel_sentry.cli.doctor.checks.conflicts import conflicts
from otel_sentry.cli.doctor.checks.dsn import dsn
from otel_sentry.cli.doctor.checks.launcher import configurator, distribution, launcher
from otel_sentry.cli.doctor.checks.libraries import libraries
from otel_sentry.cli.doctor.checks.processes import processes
from otel_sentry.cli.doctor.checks.propagators import propagators
from otel_sentry.cli.doctor.checks.sampler import sampler
from otel_sentry.cli.doctor.checks.scrubbing import scrubbing
from otel_sentry.cli.doctor.checks.sending import sending
from otel_sentry.cli.doctor.checks.variables import variables
from otel_sentry.cli.doctor.checks.versions import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_sentry.cli.doctor._finding import Finding
    from otel_sentry.cli.doctor._situation import Situation

CHECKS: tuple[tuple[str, Callable[[Situation], Iterable[Finding]]], ...] = (
    ("versions", versions),
    ("launcher", launcher),
    ("distribution", distribution),
    ("configurator", configurator),
    ("variables", variables),
    ("dsn", dsn),
    ("backends", backends),
    ("propagators", propagators),
    ("sampler", sampler),
    ("libraries", libraries),
    ("conflicts", conflicts),
    ("application", application),
    ("processes", processes),
    ("scrubbing", scrubbing),
    ("sending", sending),
)
