"""
The environment variables that only otel-sentry knows.

Everything else reuses a ``SENTRY_*`` or ``OTEL_*`` name. The module is registered under
``opentelemetry_environment_variables``: each constant becomes a flag of
``opentelemetry-instrument`` (``--sentry_max_spans 500``), and the launcher does not start the
application if this module fails to import, so it imports nothing.
"""

from __future__ import annotations

OTEL_SENTRY_SAMPLING_RULES = "OTEL_SENTRY_SAMPLING_RULES"
"""
.. envvar:: OTEL_SENTRY_SAMPLING_RULES

Rates for traces that match, separated by ``;``, first match wins:
``GET /health=0; POST /pay=1; celery sync_*=0.5``.
**Default value:** empty (every trace has ``SENTRY_TRACES_SAMPLE_RATE``)
"""

OTEL_SENTRY_KEEP_ERRORS = "OTEL_SENTRY_KEEP_ERRORS"
"""
.. envvar:: OTEL_SENTRY_KEEP_ERRORS

``true``: also send what the trace rate leaves out where it ended in an error or took long. Each
request then costs as much as a sampled one until it ends.
**Default value:** ``false``
"""

OTEL_SENTRY_KEEP_SLOW = "OTEL_SENTRY_KEEP_SLOW"
"""
.. envvar:: OTEL_SENTRY_KEEP_SLOW

With ``OTEL_SENTRY_KEEP_ERRORS``: the seconds from which on something took long; ``0``: never.
**Default value:** ``30.0``
"""

OTEL_SENTRY_SCRUB_KEYS = "OTEL_SENTRY_SCRUB_KEYS"
"""
.. envvar:: OTEL_SENTRY_SCRUB_KEYS

Comma-separated keys whose values are removed in addition to the built-in ones.
"""

OTEL_SENTRY_KEEP_KEYS = "OTEL_SENTRY_KEEP_KEYS"
"""
.. envvar:: OTEL_SENTRY_KEEP_KEYS

Comma-separated keys whose values are kept although a built-in rule matches the key.
"""

OTEL_SENTRY_SCRUB_USER = "OTEL_SENTRY_SCRUB_USER"
"""
.. envvar:: OTEL_SENTRY_SCRUB_USER

``true``: also remove e-mail, name and IP address of the user that the application set.
**Default value:** ``false``
"""

OTEL_SENTRY_MAX_SPANS = "OTEL_SENTRY_MAX_SPANS"
"""
.. envvar:: OTEL_SENTRY_MAX_SPANS

At most this many spans of one transaction; the rest is counted in client reports.
**Default value:** ``1000``
"""

OTEL_SENTRY_INFRASTRUCTURE_SPANS = "OTEL_SENTRY_INFRASTRUCTURE_SPANS"
"""
.. envvar:: OTEL_SENTRY_INFRASTRUCTURE_SPANS

``true``: also record what plumbing does: Celery's own broker and result commands, connection
set-up, CLIENT spans without a parent.
**Default value:** ``false``
"""

OTEL_SENTRY_CONNECTIONS = "OTEL_SENTRY_CONNECTIONS"
"""
.. envvar:: OTEL_SENTRY_CONNECTIONS

At most this many requests to Sentry at once, opened as the queue asks for them.
**Default value:** ``16``
"""

OTEL_SENTRY_ENV_FILE = "OTEL_SENTRY_ENV_FILE"
"""
.. envvar:: OTEL_SENTRY_ENV_FILE

A ``.env`` file to read ``SENTRY_*`` and ``OTEL_*`` from; the real environment wins.
"""
