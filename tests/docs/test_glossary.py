"""docs/glossary.md explains words that are in use."""

import re
from pathlib import Path

import pytest

from devkit.workspace import Workspace

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
TEXT = GLOSSARY.read_text(encoding="utf-8")
ENTRIES = re.findall(r"^- \*\*([^*]+)\*\*: (.*?)(?=^- |^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
TERMS = [term for term, _ in ENTRIES]


@pytest.fixture(scope="module")
def everything_else() -> str:
    """The sources and the other documents in lower case, with breaks as single spaces."""
    sources = [
        file for member in Workspace(ROOT).members for file in member.source_root.rglob("*.py")
    ]
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    texts = [
        file.read_text(encoding="utf-8") for file in [*sources, *documents] if file != GLOSSARY
    ]
    return re.sub(r"[\s#>_-]+", " ", " ".join(texts)).lower()


def test_each_term_is_used_in_the_code_or_the_documents(everything_else: str) -> None:
    assert len(TERMS) > 40
    unused = [term for term in TERMS if not re.search(rf"\b{term}(s|ed)?\b", everything_else)]
    assert unused == []


def test_each_term_has_one_entry_of_up_to_three_sentences() -> None:
    assert sorted(TERMS) == sorted(set(TERMS))
    long = [term for term, meaning in ENTRIES if len(re.findall(r"\.(?:\s|$)", meaning)) > 3]
    assert long == []
