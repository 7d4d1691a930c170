"""Every kind of derived file; a new one is a module beside this one and a line here.

What a tool such as helm renders is in RECORDED: the lint, which has no helm, compares hashes.
"""

from collections.abc import Callable, Iterator

from devkit.describing.description import PlatformDescription
from devkit.rendering import (
    asyncapi,
    catalog,
    chart_readme,
    compose,
    facts,
    gitops,
    kustomize,
    nats_permissions,
    production_database,
    prometheus,
    umbrella,
)
from devkit.rendering.artifact import Artifact
from devkit.rendering.charts import MANIFESTS
from devkit.rendering.recorded import Recorded
from devkit.rendering.skaffold import artifacts as skaffold

__all__ = ["KINDS", "RECORDED"]

KINDS: tuple[Callable[[PlatformDescription], Iterator[Artifact]], ...] = (
    facts.artifacts,
    umbrella.artifacts,
    chart_readme.artifacts,
    asyncapi.artifacts,
    catalog.artifacts,
    nats_permissions.artifacts,
    compose.artifacts,
    prometheus.artifacts,
    gitops.artifacts,
    kustomize.artifacts,
    skaffold.artifacts,
    production_database.artifacts,
)  # fmt: skip

RECORDED: tuple[Recorded, ...] = (MANIFESTS,)
