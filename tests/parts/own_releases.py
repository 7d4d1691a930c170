"""Services of a shop as releases of their own, as in production, so that each changes by itself."""

import json
import tempfile
from collections.abc import Collection

from charts import ROOT

from demo.cluster.addresses import caller_values
from demo.cluster.shop import ClusterShop

__all__ = ["release_each"]

_CHART = ROOT / "deploy/helm/service"
_ENVIRONMENT = ROOT / "deploy/helm/environments/development.yaml"


def release_each(shop: ClusterShop, services: Collection[str]) -> None:
    """Give the objects of these services to a release of each; the umbrella's release is done."""
    callers = caller_values(shop.platform)
    for service in services:
        folder = ROOT / "services" / service / "deploy"
        values = {
            "image": {"registry": shop.registry, "tag": shop.tag},
            "mesh": {"enabled": shop.mesh},
            "resources": {"requests": {"cpu": "25m"}},
            **callers[service],
        }
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as file:
            json.dump(values, file)
            file.flush()
            files = (folder / "facts.yaml", folder / "values.yaml", _ENVIRONMENT, file.name)
            shop.namespace.helm(
                *("install", service, str(_CHART), "--take-ownership"),
                *(f"--values={each}" for each in files),
            )
    shop.namespace.wait_rolled_out(services)
