"""A version's weight is what its file says at the moment."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from chassis.events.membership.weight_file import WeightFile

pytestmark = pytest.mark.unit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weight"


def test_without_a_file_a_version_has_no_weight() -> None:
    weight = WeightFile(None)
    assert not weight.read()
    assert weight.weight is None


@pytest.mark.parametrize("text", ["0", "5", " 30\n", "100"])
def test_a_percentage_is_read(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    weight = WeightFile(file)
    assert weight.read()
    assert weight.weight == int(text)


def test_a_change_is_noticed_and_logged(file: Path) -> None:
    weight = WeightFile(file)
    with capture_logs() as logs:
        for text, changed in (("5", True), ("5", False), ("50", True), ("0", True)):
            file.write_text(text, encoding="utf-8")
            assert weight.read() is changed
    assert [(line["before"], line["weight"]) for line in logs] == [(5, 50), (50, 0)]


@pytest.mark.parametrize("text", ["101", "-1", "5.5", "30%", "many", "٣", "1" * 5000, "\0"])
def test_a_file_without_a_percentage_is_an_error_and_a_weight_of_0(file: Path, text: str) -> None:
    file.write_text("30", encoding="utf-8")
    weight = WeightFile(file)
    weight.read()
    file.write_text(text, encoding="utf-8")
    with capture_logs() as logs:
        assert weight.read()
        assert not weight.read()
    assert weight.weight == 0
    (error,) = [line for line in logs if line["log_level"] == "error"]
    assert error["file"] == str(file)
    assert "0 to 100" in error["reason"]


@pytest.mark.parametrize("text", ["50", "30"])
def test_a_file_that_is_being_written_changes_nothing(file: Path, text: str) -> None:
    """`echo 50 >weight` empties the file before it writes."""
    file.write_text("30", encoding="utf-8")
    weight = WeightFile(file)
    weight.read()
    with capture_logs() as logs:
        for _ in range(2):
            file.write_text("", encoding="utf-8")
            assert not weight.read()
            assert weight.weight == 30
            file.write_text("30", encoding="utf-8")
            assert not weight.read()
        file.write_text(text, encoding="utf-8")
        assert weight.read() is (text != "30")
    assert weight.weight == int(text)
    assert not [line for line in logs if line["log_level"] == "error"]


def test_a_file_that_stays_empty_is_an_error_and_a_weight_of_0(file: Path) -> None:
    file.write_text("30", encoding="utf-8")
    weight = WeightFile(file)
    weight.read()
    file.write_text("", encoding="utf-8")
    assert not weight.read()
    with capture_logs() as logs:
        assert weight.read()
    assert weight.weight == 0
    assert [line["log_level"] for line in logs] == ["error", "info"]


def test_a_file_that_says_rest_gives_a_version_the_lanes_that_others_leave(file: Path) -> None:
    file.write_text("30", encoding="utf-8")
    weight = WeightFile(file)
    weight.read()
    for text, expected in (("rest\n", None), ("10", 10), ("rest", None)):
        file.write_text(text, encoding="utf-8")
        with capture_logs() as logs:
            assert weight.read()
            assert not weight.read()
        assert weight.weight == expected
        assert [line["log_level"] for line in logs] == ["info"]


def test_the_first_reading_of_rest_changes_nothing(file: Path) -> None:
    file.write_text("rest", encoding="utf-8")
    weight = WeightFile(file)
    assert not weight.read()
    assert weight.weight is None


@pytest.mark.parametrize("text", ["10", "rest"])
def test_a_file_that_said_rest_and_is_being_written_changes_nothing(file: Path, text: str) -> None:
    file.write_text("rest", encoding="utf-8")
    weight = WeightFile(file)
    weight.read()
    file.write_text("", encoding="utf-8")
    assert not weight.read()
    file.write_text(text, encoding="utf-8")
    assert weight.read() is (text != "rest")


def test_a_missing_file_is_a_weight_of_0_until_it_is_there(file: Path) -> None:
    weight = WeightFile(file)
    with capture_logs() as logs:
        assert weight.read()
        assert weight.weight == 0
        file.write_text("10", encoding="utf-8")
        assert weight.read()
    assert weight.weight == 10
    assert "No such file" in logs[0]["reason"]
