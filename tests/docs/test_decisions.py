"""The pages of docs/decisions/ have one form, and the index lists them."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
INDEX = FOLDER / "README.md"
PAGES = sorted(set(FOLDER.glob("*.md")) - {INDEX})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_headings_of_the_others(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "What would change our mind"]


def test_the_index_lists_every_page_by_its_title() -> None:
    listed = dict(re.findall(r"^- \[(.+)\]\((.+)\)$", INDEX.read_text(encoding="utf-8"), re.M))
    titles = {page.read_text(encoding="utf-8").splitlines()[0][2:]: page.name for page in PAGES}
    assert listed == titles
