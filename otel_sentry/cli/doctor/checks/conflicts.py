"""What else traces the application, or wants to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, error, ok, warning
from otel_sentry.cli.doctor._installed import installed, pip_uninstall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

_DISTRIBUTIONS = (
    "aws-opentelemetry-distro",
    "azure-monitor-opentelemetry",
    "elastic-opentelemetry",
    "opentelemetry-distro",
    "splunk-opentelemetry",
)
_AGENTS = ("ddtrace", "elastic-apm", "instana", "newrelic", "scout-apm")
_WRAPPERS = ("ddtrace-run", "newrelic-admin", "elasticapm-run", "sw-python")


def conflicts(situation: Situation) -> Iterator[Finding]:
    """Is there a second distribution, or an agent that patches the same libraries?"""
    here = installed()
    findings = [
        warning(
            f"{name} is installed: it wants the entry points that otel-sentry needs, and"
            " otel-sentry does not need it",
            pip_uninstall(name),
        )
        for name in _DISTRIBUTIONS
        if name in here
    ]
    findings += [
        warning(
            f"{name} is installed: if it is started, it patches the libraries that OpenTelemetry"
            " patches",
            f"start one of the two, or {pip_uninstall(name)}",
        )
        for name in _AGENTS
        if name in here
    ]
    wrapper = next((one for one in situation.command if Path(one).name in _WRAPPERS), None)
    if wrapper:
        findings.append(
            error(
                f"{Path(wrapper).name} in the command starts a second tracer",
                f"remove {Path(wrapper).name} from the command",
            )
        )
    yield from findings or [ok("nothing else traces the application")]
