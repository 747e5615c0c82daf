from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from otel_sentry.cli import _parser
from otel_sentry.cli._demo_processes import Processes, accepts_connections, free_port
from otel_sentry.cli.doctor._examine import run_check
from otel_sentry.cli.doctor._report import as_text
from otel_sentry.cli.doctor._situation import understand
from otel_sentry.cli.doctor.checks import CHECKS
from otel_sentry.cli.tail.receiver import Receiver
from otel_sentry.variables import VARIABLES
from tests.end_to_end.stack import Service, by_name, environment

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/benchmarks/*.md")])
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
LINKED = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")

# Where the Python code of each page is run.
RUN_HERE = {"gunicorn.md", "propagation.md", "quickstart.md", "sampling.md", "troubleshooting.md"}
RUN_ELSEWHERE = {
    "celery.md": "errors/test_docs.py",
    "errors.md": "errors/test_docs.py",
    "migrating.md": "errors/test_docs.py",
    "scrubbing.md": "scrubbing/test_docs.py",
    "testing.md": "testing/test_captured_sentry.py",
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@each_page
def test_named_tests_exist(page):
    """Each test that the docs name as their evidence is there."""
    for file, name in NAMED.findall(page.read_text("utf-8")):
        source = (ROOT / file).read_text("utf-8")
        assert not name or re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), (
            f"{file}::{name}"
        )


@each_page
def test_links_lead_somewhere(page):
    """Each file that a page links to is there."""
    for target in LINKED.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@each_page
def test_named_variables_exist(page):
    """Each variable of ours that a page names is one; a typo is named as such."""
    known = {variable.name for variable in VARIABLES} | {"OTEL_SENTRY_"}
    typos = {"OTEL_SENTRY_MAX_SPAN"}  # what the doctor is shown to find
    assert set(re.findall(r"\bOTEL_SENTRY_[A-Z_]*", page.read_text("utf-8"))) <= known | typos


@each_page
def test_named_targets_exist(page):
    """Each target of make that a page names is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
    assert set(named) <= targets


def test_all_python_is_run():
    """No page has Python code that no test runs."""
    with_code = {page.name for page in PAGES if blocks(page.read_text("utf-8"), "python")}
    assert with_code == RUN_HERE | set(RUN_ELSEWHERE)
    for page, file in RUN_ELSEWHERE.items():
        assert page in read(f"tests/{file}"), page


@pytest.mark.parametrize("page", sorted(RUN_HERE))
def test_python_runs(page, tmp_path):
    """The Python code of a page runs as it stands there, and nothing is warned of."""
    for code in blocks(read(f"docs/{page}"), "python"):
        with Receiver() as receiver:
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=tmp_path,
                env=environment(receiver),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        assert "is ignored" not in done.stderr


def start_from(page: str) -> str:
    """Return the command of a page that starts the application, without the comment behind it."""
    [command] = {
        re.split(r"\s+#", line)[0]
        for block in blocks(read(page), "sh")
        for line in block.splitlines()
        if line.startswith("opentelemetry-instrument uvicorn")
    }
    return command


@pytest.mark.end_to_end
@pytest.mark.parametrize("page", ["docs/quickstart.md", "README.md"])
def test_the_quickstart(page, tmp_path):
    """The application and the command of the quickstart give what it shows; README's does, too."""
    [application] = blocks(read("docs/quickstart.md"), "python")
    (tmp_path / "app.py").write_text(application)
    port = free_port()
    scripts = str(Path(sys.executable).parent)
    settings = {
        "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        "UVICORN_PORT": str(port),
        "PYTHONPATH": str(tmp_path),
        "OTEL_SERVICE_NAME": "hello",
    }
    with Receiver() as receiver:
        with Processes(tmp_path) as processes:
            command = ["bash", "-c", f"exec {start_from(page)}"]
            child = processes.start("hello", command, environment(receiver, **settings))
            processes.wait_for(child, lambda: accepts_connections(port), timeout=60)
            service = Service(port, child, processes)
            assert service.get("/hello/ada") == (200, '{"hello":"ada"}')
            assert service.get("/broken")[0] == 500
            child.process.terminate()
            child.process.wait(30)
        [hello], [broken] = by_name(receiver, "GET /hello/{name}"), by_name(receiver, "GET /broken")
        [error] = receiver.errors()

    assert hello["contexts"]["trace"]["op"] == "http.server"
    assert broken["contexts"]["trace"]["status"] == "internal_error"
    assert error["contexts"]["trace"]["trace_id"] == broken["contexts"]["trace"]["trace_id"]
    assert error["exception"]["values"][0]["type"] == "ZeroDivisionError"


def test_the_readme_is_short():
    """README fits what a reader gives it: 120 lines, with the two commands and the quickstart."""
    text = read("README.md")
    assert len(text.splitlines()) <= 120
    commands = "\n".join(blocks(text, "sh"))
    expected = ("make demo", "make test", "pip install 'otel-sentry[all]'", "export SENTRY_DSN=")
    assert not [command for command in expected if command not in commands]


DOCTOR = re.compile(r"\$ (?P<variables>.*?)otel-sentry (?P<arguments>doctor.*)\n. (?P<check>\w+)")


@pytest.mark.parametrize(
    "block",
    blocks(read("docs/troubleshooting.md"), "console"),
    ids=lambda text: text[2:].split("\n")[0],
)
def test_troubleshooting(block, tmp_path):
    """For each symptom the doctor says what the page says that it does."""
    [application] = blocks(read("docs/troubleshooting.md"), "python")
    (tmp_path / "app.py").write_text(application)
    block = block.replace("4318", str(free_port()))  # a Collector may run here, too
    asked = DOCTOR.match(block)
    expected = block.partition("\n")[2].strip()
    with Receiver() as receiver:
        variables = dict(pair.split("=", 1) for pair in shlex.split(asked["variables"]))
        settings = environment(receiver if "--send" in block else None)
        del settings["SENTRY_TRACES_SAMPLE_RATE"]
        args = _parser().parse_args(shlex.split(asked["arguments"]))
        situation = understand(
            settings | variables,
            tmp_path,
            args.command,
            app=args.app or "",
            connect=args.connect,
            send=args.send,
        )
        if args.send:  # sets up this process for good
            said = whole_doctor(settings | variables, tmp_path)
        else:
            findings = [
                finding
                for name, check in CHECKS
                if name == asked["check"]
                for finding in run_check(check, situation)
            ]
            said = as_text({asked["check"]: findings}, str, io.StringIO())
    assert expected in said


def whole_doctor(settings: dict[str, str], directory: Path) -> str:
    command = [sys.executable, "-m", "otel_sentry.cli", "doctor", "--send"]
    done = subprocess.run(
        command, cwd=directory, env=settings, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout


def test_the_deployment():
    """The manifest on the page about Kubernetes satisfies its strict schema."""
    [manifest] = blocks(read("docs/kubernetes.md"), "yaml")
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(yaml.safe_load(manifest), newest, strict=True)
