"""
Make random ids without asking the kernel, for sentry-sdk, too.

``uuid.uuid4`` asks it for each, and leaves the interpreter to another thread meanwhile. sentry-sdk
does so three times in each request, for a session, a trace and a span that nobody sees; a request
that leaves the interpreter to whoever builds a transaction waits until that is done.
"""

from __future__ import annotations

import os
import random
import uuid
from importlib import import_module
from types import ModuleType

# Seeded by the system, and not by the application as the module's own generator may be.
_RANDOM = random.Random()  # noqa: S311 - an id is no secret
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_RANDOM.seed)

# Of sentry-sdk; version 3 has not all of them. There is no hook for how it makes ids.
_MODULES = ("session", "traces", "tracing", "tracing_utils")


def uuid4() -> uuid.UUID:
    """Return a random UUID of version 4 (RFC 9562)."""
    return uuid.UUID(int=_RANDOM.getrandbits(128), version=4)


_uuid = ModuleType("uuid", uuid.__doc__)
vars(_uuid).update({**vars(uuid), "uuid4": uuid4})


def lend_to_sentry_sdk() -> None:
    """Let sentry-sdk make what ids it needs in each request by :func:`uuid4`."""
    for name in _MODULES:
        try:
            module = import_module(f"sentry_sdk.{name}")
        except ImportError:
            continue
        if vars(module).get("uuid") is uuid:
            vars(module)["uuid"] = _uuid
