"""`python -m otel_sentry.cli` is `otel-sentry`."""

from __future__ import annotations

import sys

from otel_sentry.cli import main

sys.exit(main())
