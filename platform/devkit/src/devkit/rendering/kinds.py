"""Every kind of derived file; a new kind is a module in this folder and a line here.

Files that a tool such as helm renders are in RECORDED. The lint compares their hashes, because it
must run without helm.
"""

from collections.abc import Callable, Iterator

from devkit.describing.description import PlatformDescription
from devkit.rendering import (
    asyncapi,
    canary_templates,
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
    canary_templates.artifacts,
    gitops.artifacts,
    kustomize.artifacts,
    skaffold.artifacts,
    production_database.artifacts,
)  # fmt: skip

RECORDED: tuple[Recorded, ...] = (MANIFESTS,)
