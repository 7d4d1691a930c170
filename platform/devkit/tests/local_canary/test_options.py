"""The options `--canary`, `--canary-ref` and `--canary-match`."""

import pytest

from devkit.errors import DevkitError
from devkit.local_canary import CanaryOptions
from devkit.local_canary.locked_packages import other_versions
from devkit.local_canary.options import parse_canary

pytestmark = pytest.mark.unit


def test_weights_ref_and_headers_are_read() -> None:
    assert parse_canary(["a=30", "b=0"], "v1", ["End-User=jason=1"]) == CanaryOptions(
        {"a": 30, "b": 0}, "v1", {"end-user": "jason=1"}
    )


def test_the_last_commit_is_stable_by_default() -> None:
    options = parse_canary(["a=100"], None, None)
    assert options is not None
    assert (options.ref, options.match) == ("HEAD", {})


def test_without_canaries_there_are_no_options() -> None:
    assert parse_canary(None, None, None) is None


@pytest.mark.parametrize("value", ["a", "a=", "=3", "a=-1", "a=101", "a=3.5", "a=thirty"])
def test_a_weight_that_is_not_a_percentage_is_told(value: str) -> None:
    with pytest.raises(DevkitError, match="--canary"):
        parse_canary([value], None, None)


@pytest.mark.parametrize(("ref", "match"), [("HEAD", None), (None, ["end-user=jason"])])
def test_a_ref_or_a_header_without_a_canary_is_told(
    ref: str | None, match: list[str] | None
) -> None:
    with pytest.raises(DevkitError, match="add --canary inventory=30"):
        parse_canary(None, ref, match)


def test_packages_in_other_versions_than_locked_are_named() -> None:
    lock = """
        # A comment
--index-url https://example.org
pytest==0.1 \\
    --hash=sha256:00
no-such-package-at-all==2.0
windows-only==3 ; sys_platform == 'win32' \\
    --hash=sha256:00
"""
    assert other_versions(lock) == [
        f"pytest 0.1 (here {pytest.__version__})",
        "no-such-package-at-all 2.0 (here not installed)",
    ]
