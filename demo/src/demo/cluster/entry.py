"""The shop's entry from outside: a Gateway if the cluster has a class for one, or the Service."""

import json
from typing import Any

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed, run
from devkit.describing.description import PlatformDescription

__all__ = ["entry_url", "gateway_class", "gateway_values", "open_gateway", "wait_open"]

_SERVICE = "gateway"
"""The service that the entry leads to."""
_GATEWAY = "slipway"
_PORT = 80
_SECONDS = 120
# The only setting that the Pod Security Standard `restricted` requires and that Istio does not set
# in the Deployment of a Gateway.
_RESTRICTED = {
    "spec": {
        "template": {"spec": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}}
    }
}


def gateway_class() -> str | None:
    """Return the cluster's first managed GatewayClass; None if there is none."""
    try:
        found = json.loads(run("kubectl", "get", "gatewayclasses", "--output=json", seconds=30))
    except ToolFailed:  # The cluster does not have the Gateway API.
        return None
    # An unmanaged class describes gateways that exist elsewhere; no controller creates one for it.
    names = [
        item["metadata"]["name"]
        for item in found["items"]
        if not item["spec"]["controllerName"].endswith("/unmanaged-gateway")
    ]
    return names[0] if names else None


def gateway_values() -> dict[str, Any]:
    """Return the chart's values that route a Gateway to the service."""
    return {_SERVICE: {"entry": {"kind": "gateway", "paths": ["/"]}}}


def open_gateway(namespace: Namespace, name: str) -> None:
    """Create a Gateway of a class, and wait until it has an address. Raises ToolFailed."""
    options = {"name": f"{_GATEWAY}-gateway"}
    parameters = {"group": "", "kind": "ConfigMap", **options}
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": options,
            "data": {"deployment": json.dumps(_RESTRICTED)},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": _GATEWAY},
            "spec": {
                "gatewayClassName": name,
                # Only Istio's controller understands these parameters.
                **({"infrastructure": {"parametersRef": parameters}} if name == "istio" else {}),
                "listeners": [{"name": "http", "port": _PORT, "protocol": "HTTP"}],
            },
        },
    )
    wait_open(namespace)


def wait_open(namespace: Namespace) -> None:
    """Wait until the Gateway has an address. Raises ToolFailed."""
    programmed = ("wait", "--for=condition=Programmed", f"gateway/{_GATEWAY}")
    namespace.kubectl(*programmed, f"--timeout={_SECONDS}s", seconds=_SECONDS + 10)


def entry_url(platform: PlatformDescription, namespace: Namespace) -> str:
    """Return the URL at which the pods of the namespace place orders."""
    if gateway_class() is not None:
        gateway = namespace.read(f"gateway.gateway.networking.k8s.io/{_GATEWAY}")
        return f"http://{gateway['status']['addresses'][0]['value']}:{_PORT}"
    port = next(each.http.port for each in platform.services if each.name == _SERVICE)
    return f"http://{_SERVICE}:{port}"
