"""docs/README.md leads to every page."""

import re
from typing import Final

from tests.house.checkout import ROOT

DOCS: Final = ROOT / "docs"


def test_index_lists_every_page() -> None:
    """Each page of docs/ is linked, and of the folders below it what lists their pages."""
    linked = set(re.findall(r"\]\(([^)#]+)", (DOCS / "README.md").read_text(encoding="utf-8")))
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    folders = {f"{path.parent.name}/README.md" for path in DOCS.glob("*/README.md")}
    assert sorted((pages | folders) - linked) == []
