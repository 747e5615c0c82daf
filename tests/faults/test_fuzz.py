"""Whatever others write, it is read without an exception; ``make fuzz`` looks for more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import SEEDS, TARGETS


@st.composite
def damaged(draw, seeds):
    """Return a seed with pieces replaced, or nothing that resembles one."""
    data = draw(st.sampled_from([b"", *seeds]))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        data = data[:start] + draw(st.binary(max_size=12)) + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_raised(name):
    """Damaged and arbitrary input is refused or read; the target's own assertions hold."""

    @settings(max_examples=150, deadline=None)
    @given(damaged(SEEDS[name]))
    def check(data):
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_read(name):
    """The examples that the search starts from are themselves sound."""
    for seed in SEEDS[name]:
        TARGETS[name](seed)
