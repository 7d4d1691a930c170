"""Lanes are taken from a canary before helm does, and helm may change its weight afterwards."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devkit.canary.lanes import take_lanes
from devkit.canary.target import Target
from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class WithWeightFile(Namespace):
    """A namespace with the ConfigMap of a canary's weight, or without one."""

    name: str = "shop"
    files: list[dict[str, Any]] = field(default_factory=list)
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def kubectl(self, *arguments: str, input: str | None = None, seconds: float = 120) -> str:
        self.commands.append(arguments)
        if arguments[0] == "get":
            if not self.files:
                raise ToolFailed('configmaps "orders-canary" not found')
            return json.dumps(self.files[-1])
        if arguments[0] == "apply" and input:
            self.files.append(json.loads(input))
        return ""


def take(namespace: WithWeightFile) -> None:
    take_lanes(Target(namespace, "orders", "shop", Path(), ""))


def test_the_weight_is_changed_as_helm_changes_it_so_that_the_next_upgrade_meets_no_conflict() -> (
    None
):
    """Helm 4 refuses an upgrade if another program has changed a field that it has written."""
    metadata = {"name": "orders-canary", "labels": {"app": "orders"}, "uid": "1"}
    written = {"managedFields": [{"manager": "helm"}], "resourceVersion": "7"}
    namespace = WithWeightFile()
    namespace.files.append(
        {"kind": "ConfigMap", "metadata": {**metadata, **written}, "data": {"weight": "50"}}
    )
    take(namespace)
    # Without the uid, an object that helm has deleted meanwhile would be created again.
    changed = {"kind": "ConfigMap", "metadata": metadata, "data": {"weight": "0"}}
    assert namespace.files[-1] == changed
    (applied,) = (each for each in namespace.commands if each[0] == "apply")
    assert {"--server-side", "--field-manager=helm"} <= set(applied)


def test_lanes_of_a_canary_that_helm_has_removed_are_not_taken() -> None:
    namespace = WithWeightFile()
    take(namespace)
    assert not [each for each in namespace.commands if each[0] != "get"]
