"""The pytest plugin: a fixture, a marker and an option. Importing it costs nothing but pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.testing import CapturedSentry

_MARKER = "sentry_settings"
_EARLY = "otel_sentry_instrument"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the configuration file."""
    parser.addini(
        _EARLY,
        "instrument libraries before conftest.py is imported, for applications and engines that"
        " are made when their module is imported",
        type="bool",
        default=False,
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Instrument for the whole run, if asked to; between tests with the fixture nothing records."""
    if not early_config.getini(_EARLY):
        return
    from contextlib import ExitStack

    from otel_sentry.settings import Settings
    from otel_sentry.testing._instrument import instrumented_libraries

    stack = ExitStack()
    stack.enter_context(instrumented_libraries(Settings.from_env({})))
    early_config.add_cleanup(stack.close)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(NAME=value, ...): environment variables for captured_sentry, e.g."
        " OTEL_SENTRY_SCRUB_KEYS='iban'",
    )


@pytest.fixture
def captured_sentry(request: pytest.FixtureRequest) -> Iterator[CapturedSentry]:
    """Return what the test sends to Sentry; nothing leaves the process."""
    from otel_sentry.testing._capture import capturing

    variables: dict[str, str] = {}
    for mark in reversed(list(request.node.iter_markers(_MARKER))):  # the closest one wins
        if mistake := _mistake(mark):
            pytest.fail(mistake, pytrace=False)
        variables |= {name: str(value) for name, value in mark.kwargs.items()}
    with capturing(variables) as captured:
        yield captured


def _mistake(mark: pytest.Mark) -> str:
    """Return what is wrong with a marker: a slip in a name would let its test pass without it."""
    from difflib import get_close_matches

    from otel_sentry.variables import VARIABLES

    if mark.args:
        return f"{_MARKER}({mark.args[0]!r}): pass NAME=value"
    known = [variable.name for variable in VARIABLES if variable.field]
    known += ["ENVIRONMENT", "OTEL_RESOURCE_ATTRIBUTES"]
    for name in sorted(set(mark.kwargs) - set(known)):
        close = get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        return f"{_MARKER}({name}=...): captured_sentry reads no such variable.{hint}"
    return ""
