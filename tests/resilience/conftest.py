"""What resilience tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from upheaval import ENVIRONMENT

from devkit.platform import PlatformOptions


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., PlatformOptions]:
    """A platform on free ports that the test itself breaks and mends."""

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
