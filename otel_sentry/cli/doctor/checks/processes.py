"""How the command makes processes and threads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otel_sentry.cli.doctor._finding import Finding, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_sentry.cli.doctor._situation import Situation

_GEVENT_PATCH = "OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH"
_KINDS = ("-k", "--worker-class", "-P", "--pool")


def processes(situation: Situation) -> Iterator[Finding]:
    """Does the command fork, or replace threads by greenlets?"""
    words = situation.command
    if not words:
        return
    program = next((name for word in words if (name := Path(word).name) in _SERVERS), "")
    kind = _value_of(words, *_KINDS)
    if "gevent" in kind:
        if situation.environ.get(_GEVENT_PATCH) == "patch_all":
            yield ok(f"gevent replaces threads before the launcher starts ({_GEVENT_PATCH})")
        else:
            yield warning(
                "gevent replaces threads and locks after the launcher has made some",
                f"export {_GEVENT_PATCH}=patch_all",
            )
    elif "eventlet" in kind:
        yield warning(
            "eventlet replaces threads and locks after the launcher has made some",
            "use threads or processes, or gevent",
        )
    elif program == "gunicorn" and "--preload" in words:
        yield ok("gunicorn --preload: each worker starts its own threads after the fork")
    elif program == "celery" and "worker" in words and kind in {"", "prefork"}:
        yield ok("celery prefork: each child starts its own threads, and flushes when it ends")
    elif program:
        yield ok(f"{program}: nothing to mind")


_SERVERS = frozenset({"celery", "gunicorn", "uvicorn", "hypercorn", "granian"})


def _value_of(words: tuple[str, ...], *options: str) -> str:
    for word, following in zip(words, (*words[1:], ""), strict=False):
        option, is_joined, value = word.partition("=")
        if option in options:
            return value if is_joined else following
    return ""
