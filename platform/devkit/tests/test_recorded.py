"""Hashes of inputs and outputs show whether helm's manifests are up to date."""

import shutil
from pathlib import Path

import pytest

from devkit.rendering.recorded import Recorded, inputs_hash, record, recorded_drift

pytestmark = pytest.mark.unit

RENDERED = Recorded(
    file="out/hashes",
    inputs=("chart/**/*", "services/*/facts.yaml"),
    outputs=("out/*.yaml",),
    command="make render-it",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("chart/templates/a.yaml", "services/x/facts.yaml", "out/x.yaml", "out/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    record(tmp_path, RENDERED)
    return tmp_path


def drift(root: Path) -> str:
    return "\n".join(recorded_drift(root, RENDERED))


def test_what_lies_as_it_was_rendered_passes(root: Path) -> None:
    (root / "out/notes.md").write_text("what is no output may change", encoding="utf-8")

    assert drift(root) == ""


@pytest.mark.parametrize("change", ["chart/templates/a.yaml", "chart/b.yaml"])
def test_a_changed_or_new_input_asks_to_render_again(root: Path, change: str) -> None:
    (root / change).write_text("other", encoding="utf-8")

    assert drift(root).startswith("out/hashes: its inputs have changed (chart/**/*, ")
    assert drift(root).endswith("run `make render-it`")


def test_a_file_of_an_input_that_moved_is_another_input(root: Path) -> None:
    before = inputs_hash(root, RENDERED.inputs)
    (root / "chart/templates/a.yaml").rename(root / "chart/a.yaml")

    assert inputs_hash(root, RENDERED.inputs) != before


def test_an_output_edited_by_hand_or_deleted_is_noticed(root: Path) -> None:
    (root / "out/x.yaml").write_text("by hand", encoding="utf-8")
    assert "a rendered file was changed (out/*.yaml)" in drift(root)
    (root / "out/x.yaml").unlink()
    assert "a rendered file was changed" in drift(root)


def test_without_a_chart_nothing_is_rendered(root: Path) -> None:
    shutil.rmtree(root / "chart")
    (root / "out/hashes").unlink()

    assert drift(root) == ""


def test_hashes_that_were_never_written_are_missing(root: Path) -> None:
    (root / "out/hashes").unlink()

    assert drift(root) == "out/hashes is missing; run `make render-it`"
