"""What SECURITY.md promises of the package itself."""

from __future__ import annotations

import ast
import os
import re
import socket
import tempfile
from pathlib import Path

import pytest

import otel_sentry
from otel_sentry.cli.tail.receiver import Receiver
from otel_sentry.settings import Settings
from tests.faults.driver import run_application, run_script
from tests.faults.far_end import FarEnd, Mode

PACKAGE = Path(otel_sentry.__file__).parent
ROOT = PACKAGE.parent
_FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
_FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}


def _uses(path):
    """Yield the builtin functions that a file calls, and the modules that it imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            yield "shell="


def test_nothing_is_evaluated_or_unpickled():
    """No code of the package turns data into code, or starts a shell."""
    forbidden = _FORBIDDEN_CALLS | _FORBIDDEN_MODULES | {"shell="}
    found = {(path.name, use) for path in PACKAGE.rglob("*.py") for use in _uses(path)}

    assert [use for use in found if use[1] in forbidden] == []


def test_nothing_listens_on_the_network():
    """The receiver of ``tail`` and the demo takes loopback addresses alone."""
    for host in ("0.0.0.0", "", "192.0.2.1", "::"):
        with pytest.raises(ValueError, match="loopback"):
            Receiver(host=host)
    with Receiver() as receiver, socket.socket() as client:
        client.settimeout(2)
        assert receiver.url.startswith("http://127.0.0.1:")
        address = _other_address()
        if address is not None:
            assert client.connect_ex((address, receiver.port)) != 0


def _other_address():
    """Return an address of this machine that is not loopback, or ``None``."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
    except OSError:
        return None
    return next((info[4][0] for info in found if not info[4][0].startswith("127.")), None)


def test_the_keys_of_a_dsn_are_masked():
    """``describe()``, which logs and doctor show, has no key of the DSN, nor its old secret."""
    settings = Settings.from_env({"SENTRY_DSN": "https://thekey:thesecret@sentry.example/1"})

    assert not re.search("thekey|thesecret", str(settings.describe()))


def test_the_log_of_an_outage_holds_no_secret(far_end, tmp_path):
    """What is said while Sentry is down names no DSN key and nothing of an event."""
    dsn = far_end.dsn.replace("public", "0123456789abcdef")
    far_end.become(Mode("answer", status=500))
    with run_application(tmp_path, dsn) as application:
        application.do("work", transactions=3, errors=3)
        application.do("flush")
        log = application.log()

    assert len(application.log_lines()) == 1
    assert not re.search("0123456789abcdef|it failed|SELECT", log)


def test_no_redirect_is_followed(far_end, tmp_path):
    """A far end cannot send the DSN's key, or an event, to another place."""
    with FarEnd() as other:
        target = {"Location": f"http://127.0.0.1:{other.port}/api/1/envelope/"}
        far_end.become(Mode("answer", status=307, headers=target))
        with run_application(tmp_path, far_end.dsn) as application:
            application.do("work", transactions=3, errors=1)
            application.do("flush")
            lost = application.do("tally")

        assert other.requests == 0
        assert lost["transaction network_error"] == 3


def test_nothing_is_written_to_disk(far_end):
    """The bridge keeps what it has in memory: no file appears, whatever happens to Sentry."""
    with tempfile.TemporaryDirectory() as directory:
        code = "import application; application.work(transactions=20, errors=2)"
        run_script(code, far_end.dsn, HOME=directory, TMPDIR=directory, XDG_CACHE_HOME=directory)

        assert list(Path(directory).rglob("*")) == []


def test_security_md_says_how_to_report():
    """SECURITY.md has the promises, the threat model, and a way to report."""
    text = (ROOT / "SECURITY.md").read_text()

    for heading in ("Reporting", "Promises", "Threat model"):
        assert f"## {heading}" in text
    assert os.access(ROOT / "SECURITY.md", os.R_OK)
