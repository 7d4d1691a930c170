"""Errors of a tool that is missing, fails, or does not end."""

from pathlib import Path

import pytest

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed, missing, run
from devkit.errors import DevkitError


def test_a_missing_tool_is_named_with_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert missing(["helm"]) == [
        "helm is not on the PATH: https://helm.sh/docs/intro/install/ (4, or 3.20)"
    ]
    with pytest.raises(DevkitError, match="kubectl is not on the PATH: https"):
        run("kubectl", "version")


def test_a_tool_that_fails_is_quoted() -> None:
    with pytest.raises(ToolFailed, match=r"sh -c .* failed:\nwhy it failed"):
        run("sh", "-c", "echo before; echo why it failed >&2; exit 3")


def test_a_tool_that_does_not_end_is_ended() -> None:
    with pytest.raises(ToolFailed, match=r"sleep 60 did not end in 0.1 s"):
        run("sleep", "60", seconds=0.1)


def test_what_a_tool_prints_is_returned() -> None:
    assert run("cat", input="said") == "said"


def test_a_namespace_is_where_kubectl_and_helm_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("kubectl", "helm"):
        (tmp_path / tool).write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    assert Namespace("shop").kubectl("get", "pods") == "--namespace shop get pods\n"
    assert Namespace("shop").helm("list") == "--namespace shop list\n"
