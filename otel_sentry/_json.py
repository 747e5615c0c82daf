"""Write JSON as sentry-sdk does; ``json.dumps`` would make an encoder for each call."""

from __future__ import annotations

import json

encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
"""Return the shortest JSON of a value; ``ValueError``: it holds what JSON has no number for."""
