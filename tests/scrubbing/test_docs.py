from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from otel_sentry.scrubbing import _rules, _scrubber, _shapes, _texts

DOCS = Path(__file__).parents[2] / "docs" / "scrubbing.md"


def test_the_sample_is_what_the_code_prints():
    """The sample in the docs prints what stands below it."""
    text = DOCS.read_text()
    code, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL).groups()
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, str(DOCS), "exec"), {})
    assert output.getvalue() == printed


def test_every_rule_is_documented():
    """Each rule's name that Sentry may show is in the docs."""
    names = {rule for rule, _, _ in _shapes.SHAPES} | {rule for rule, *_ in _texts._NUMBERS}
    for module in (_scrubber, _texts):
        source = Path(module.__file__).read_text()
        names |= set(re.findall(r'FILTERED, "(\w+)"', source))
        names |= set(re.findall(r'append\("(\w+)"\)', source))
    assert names
    assert {name for name in names if f"`{name}`" not in DOCS.read_text()} == set()
    assert _rules.MAX_DEPTH == 64
    assert f"{_rules.MAX_VALUES:,}" in DOCS.read_text()
    assert f"{_shapes.MAX_TEXT:,}" in DOCS.read_text()
