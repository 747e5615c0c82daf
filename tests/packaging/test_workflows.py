from __future__ import annotations

import re

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from tests.packaging.environments import ROOT
from tests.packaging.test_distributions import VERSIONS

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))

pytestmark = pytest.mark.skipif(not FILES, reason="the sdist has no workflows")


def steps(file):
    """Return the steps of all jobs, and the jobs that are workflows themselves."""
    jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"].values()
    return [step for job in jobs for step in job.get("steps", [job])]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_workflows_are_valid(file):
    """Each workflow satisfies GitHub's schema."""
    # YAML 1.1 reads the key `on` as a boolean; GitHub does not.
    text = re.sub(r"^on:", '"on":', file.read_text("utf-8"), flags=re.MULTILINE)
    jsonschema.validate(yaml.safe_load(text), get_builtin_schema("vendor.github-workflows"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_workflows_run_what_a_developer_runs(file):
    """Each command is a target of make or `.ci/run`, each action is pinned by its commit."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(file):
        if "run" in step:
            program, *arguments = step["run"].split()
            assert program == ".ci/run" or (program == "make" and set(arguments) <= targets)
        else:
            assert re.fullmatch(r"\./\.github/.+|[\w/-]+@[0-9a-f]{40}", step["uses"])


def test_every_python_is_tested():
    """CI tests each Python that the metadata names."""
    jobs = yaml.safe_load((FOLDER / "ci.yml").read_text("utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python-version"] == list(VERSIONS)


def test_only_publishing_may_ask_for_a_token():
    """The job that publishes runs no code of ours, and it alone gets an identity."""
    jobs = yaml.safe_load((FOLDER / "release.yml").read_text("utf-8"))["jobs"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert not [step for step in jobs["publish"]["steps"] if "run" in step]
