from __future__ import annotations

import pytest

from tests.packaging.environments import build, install_beside_everything, install_minimal


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Return the sdist and the wheel."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def python(built, tmp_path_factory):
    """Return the Python of an environment with the wheel beside all that the tests use."""
    return install_beside_everything(built.wheel, tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="session")
def minimal_python(built, tmp_path_factory):
    """Return the Python of an environment with the wheel and what it requires."""
    return install_minimal(built.wheel, tmp_path_factory.mktemp("minimal"))
