"""Errors: sentry-sdk captures them; here its client is set up and each is linked to its trace."""

from __future__ import annotations
