"""Fixtures of the resilience tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from fault_injection import ENVIRONMENT

from devkit.platform import PlatformOptions


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., PlatformOptions]:
    """A function that returns options of a platform whose processes only the test restarts."""

    def make(
        database: Literal["sqlite", "postgres"] = "sqlite", **replicas: int
    ) -> PlatformOptions:
        return PlatformOptions(
            data=tmp_path,
            free_ports=True,
            restart=False,
            database=database,
            replicas=replicas,
            environment=ENVIRONMENT,
        )

    return make
