"""Read a ``.env`` file."""

from __future__ import annotations

import re

from otel_sentry._logging import logger

_QUOTED = re.compile(r"""(["'])(.*?)\1\s*(?:#.*)?$""")
_COMMENT = re.compile(r"(?:^|\s+)#")


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
        key, is_pair, value = line.strip().removeprefix("export ").partition("=")
        key, value = key.strip(), value.strip()
        # No environment takes a NUL; a file that holds one is no text.
        if not is_pair or not key.startswith(("SENTRY_", "OTEL_")) or "\0" in line:
            continue
        quoted = _QUOTED.match(value)
        found[key] = quoted[2] if quoted else _COMMENT.split(value, maxsplit=1)[0]
    return found
