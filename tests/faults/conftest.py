from __future__ import annotations

import pytest

from tests.faults.driver import run_application
from tests.faults.far_end import FarEnd


@pytest.fixture
def far_end():
    """Return a far end that takes everything until it is told otherwise."""
    with FarEnd() as far_end:
        yield far_end


@pytest.fixture
def application(far_end, tmp_path):
    """Return an application that sends to the far end."""
    with run_application(tmp_path, far_end.dsn) as application:
        yield application
