"""Read a ``.env`` file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otel_sentry._logging import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUOTED = re.compile(r"""(["'])(.*?)\1\s*(?:#.*)?$""")
_EXPORT = re.compile(r"^export\s+")
_COMMENT = re.compile(r"(?:^|\s+)#")


def with_env_file(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with what ``OTEL_SENTRY_ENV_FILE`` adds; what is there already wins."""
    path = environ.get("OTEL_SENTRY_ENV_FILE", "").strip()
    return {**(read_env_file(path) if path else {}), **environ}


def read_env_file(path: str) -> dict[str, str]:
    """
    Read the ``SENTRY_*`` and ``OTEL_*`` lines of a ``.env`` file.

    ``KEY=value`` a line, ``export`` before it, quotes around the value and ``#`` comments are
    understood; nothing is expanded. An unreadable file warns and reads as empty.
    """
    try:
        # utf-8-sig: some editors start a file with a byte order mark.
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 - Path costs an import
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        logger.warning(
            "OTEL_SENTRY_ENV_FILE=%s is ignored: %s. Set it to the path of a readable file.",
            path,
            type(error).__name__,
        )
        return {}
    found = {}
    for line in lines:
        key, is_pair, value = _EXPORT.sub("", line.strip()).partition("=")
        key, value = key.strip(), value.strip()
        # No environment takes a NUL; a file that holds one is no text.
        if not is_pair or not key.startswith(("SENTRY_", "OTEL_")) or "\0" in line:
            continue
        quoted = _QUOTED.match(value)
        found[key] = quoted[2] if quoted else _COMMENT.split(value, maxsplit=1)[0]
    return found
