"""SECURITY.md promises only what a test of that name tests."""

import re

from tests.house.checkout import ROOT


def test_every_test_that_is_named_exists() -> None:
    """Each test or file of tests that the document names is there."""
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))
    )
    names = set(re.findall(r"`(test_\w+)`", page))
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", page))

    assert len(names) > 40
    assert sorted(name for name in names if f"def {name}" not in sources) == []
    assert sorted(file for file in files if not (ROOT / file).is_file()) == []
