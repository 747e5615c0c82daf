"""The scrubbing rules, shown on a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

# Key, value, and the part of it that must not leave.
_SAMPLE = (
    ("http.url", "https://shop.example/pay?token=tok-4711", "tok-4711"),
    ("password", "hunter2", "hunter2"),
    ("http.request.header.authorization", "Bearer abc.def", "abc.def"),
    ("db.statement", "SELECT * FROM users WHERE email = 'ann@example.com'", "ann@example.com"),
)


def scrubbing(situation: Situation) -> Iterator[Finding]:
    """Does each secret of the sample disappear, and each key that the user named?"""
    from otel_sentry.scrubbing import Scrubber

    settings = situation.settings
    scrubber = Scrubber(
        settings.scrub_keys,
        settings.keep_keys,
        scrub_user=settings.scrub_user,
        send_default_pii=settings.send_default_pii,
    )
    sample = [*_SAMPLE, *((key, "of-your-own", "of-your-own") for key in settings.scrub_keys)]
    for key, value, secret in sample:
        after = str(scrubber.attributes({key: value})[key])
        if secret in after:
            yield warning(
                f"{key}: {value} leaves as it is",
                f"remove what matches {key} from OTEL_SENTRY_KEEP_KEYS",
            )
        else:
            yield ok(f"{key}: {value} leaves as {after}")
