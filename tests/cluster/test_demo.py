"""The demo's one command on a cluster: install, replay through the entry, laws, helm test."""

import os
import subprocess
from uuid import uuid4

import pytest

from devkit.cluster.tools import run
from devkit.workspace import find_workspace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("options", [(), ("--mesh",)], ids=["restricted", "mesh"])
def test_one_command_installs_the_platform_and_every_law_holds_there(
    tag: str, options: tuple[str, ...]
) -> None:
    name = f"{os.environ.get('CLUSTER_TEST_PREFIX', 'test')}-demo-{uuid4().hex[:6]}"
    done = subprocess.run(
        ["slipway", "cluster-demo", "--namespace", name, "--baskets", "300", *options],
        cwd=find_workspace().root,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "placed           300" in done.stdout
    assert done.stdout.count("✓") == 8
    assert run("kubectl", "get", "namespace", name, "--ignore-not-found") == ""
