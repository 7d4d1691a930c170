"""`slipway canary … --write` edits a file of values, and needs neither a cluster nor its tools."""

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from devkit.canary.command import app
from devkit.errors import WrongUsage

pytestmark = pytest.mark.unit

VERSIONS = Path(__file__).parents[4] / "deploy/gitops/versions"


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files from which a repository is deployed, where no tool is on the PATH."""
    monkeypatch.setenv("PATH", "/nowhere")
    return Path(shutil.copytree(VERSIONS, tmp_path / "versions"))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def load(file: Path) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return loaded


def test_a_canary_goes_through_a_file_of_all_services(versions: Path) -> None:
    file = versions / "development.yaml"
    before = file.read_text(encoding="utf-8")
    write = ("--write", str(file))

    start = ("start", "orders", "--tag", "0.2.0", *write)
    assert "run this command again, which gives it 5 %" in run(*start)
    assert load(file)["orders"] == {"canary": {"image": {"tag": "0.2.0"}}}
    assert "orders.canary.weight: none → 5" in run(*start)
    assert load(file)["orders"] == {"canary": {"image": {"tag": "0.2.0"}, "weight": 5}}
    run("weight", "orders=25", *write)
    assert "run this command again" in run("promote", "orders", *write)
    assert load(file)["orders"] == {
        "canary": {"image": {"tag": "0.2.0"}, "weight": 25},
        "image": {"tag": "0.2.0"},
    }
    run("promote", "orders", *write)
    assert load(file)["orders"] == {
        "canary": {"image": {"tag": ""}, "weight": 0},
        "image": {"tag": "0.2.0"},
    }
    assert file.read_text(encoding="utf-8").startswith(before)


def test_a_file_that_is_named_after_the_service_has_its_values_at_the_top(versions: Path) -> None:
    file = versions / "production" / "orders.yaml"
    file.parent.mkdir(exist_ok=True)
    for _ in range(2):
        run("start", "orders", "--tag", "0.2.0", "--steps", "10,50", "--write", str(file))
    assert load(file) == {"canary": {"image": {"tag": "0.2.0"}, "weight": 10}}
    run("abort", "orders", "--write", str(file))
    assert load(file) == {"canary": {"image": {"tag": ""}, "weight": 0}}


def test_a_tag_becomes_a_reference_where_the_stable_image_has_one(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    file.write_text("image: {reference: registry:5000/shop/orders:1}\n", encoding="utf-8")
    run("start", "orders", "--tag", "2", "--write", str(file))
    assert load(file)["canary"] == {"image": {"reference": "registry:5000/shop/orders:2"}}


def test_a_canary_that_has_weight_is_not_started_again(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    file.write_text("canary: {image: {tag: v2}, weight: 50}\n", encoding="utf-8")
    with pytest.raises(WrongUsage, match=r"has 50 % already: .*slipway canary weight orders=5"):
        run("start", "orders", "--tag", "v2", "--write", str(file))


def test_no_header_leads_to_a_canary_that_is_written_before_it_is_ready(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    file.write_text("canary: {matchAtZero: true}\n", encoding="utf-8")
    run("start", "orders", "--tag", "v2", "--write", str(file))
    assert load(file)["canary"] == {"matchAtZero": False, "image": {"tag": "v2"}}


def test_an_abort_after_half_a_promotion_says_that_stable_keeps_the_image(versions: Path) -> None:
    write = ("--write", str(versions / "orders.yaml"))
    run("start", "orders", "--tag", "0.2.0", *write)
    assert "stable keeps" not in run("abort", "orders", *write)
    run("start", "orders", "--tag", "0.2.0", *write)
    run("promote", "orders", *write)
    assert "stable keeps 0.2.0, which `promote` wrote" in run("abort", "orders", *write)


def test_a_second_canary_and_the_stable_tag_are_refused(versions: Path) -> None:
    file = versions / "orders.yaml"
    file.write_text("image: {tag: 0.1.0}\n", encoding="utf-8")
    write = ("--write", str(file))
    with pytest.raises(WrongUsage, match=r"0\.1\.0 is the stable version already"):
        run("start", "orders", "--tag", "0.1.0", *write)
    run("start", "orders", "--tag", "0.2.0", *write)
    with pytest.raises(WrongUsage, match=r"has a canary 0\.2\.0"):
        run("start", "orders", "--tag", "0.3.0", *write)


def test_without_a_canary_there_is_nothing_to_weigh_or_to_promote(versions: Path) -> None:
    for command in (("weight", "orders=5"), ("promote", "orders")):
        with pytest.raises(WrongUsage, match="has no canary of orders"):
            run(*command, "--write", str(versions / "development.yaml"))


def test_what_is_written_already_is_said(versions: Path) -> None:
    write = ("--write", str(versions / "development.yaml"))
    assert "has these values already" in run("abort", "orders", *write)


@pytest.mark.parametrize("steps", ["", "50,5", "5,5", "0,5", "50,101", "5;10", "a"])
def test_steps_that_do_not_rise_are_refused(steps: str, tmp_path: Path) -> None:
    write = ("--write", str(tmp_path / "orders.yaml"))
    with pytest.raises(WrongUsage, match="write rising percentages"):
        run("start", "orders", "--tag", "2", "--steps", steps, *write)
