"""The way in from outside: a Gateway where the cluster has a class for one, else the Service."""

import json
from typing import Any

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed, run
from devkit.describing.description import PlatformDescription

__all__ = ["entry_url", "gateway_class", "open_gateway", "route", "wait_open"]

_SERVICE = "gateway"
"""The service that is reached from outside."""
_GATEWAY = "slipway"
_PORT = 80
_SECONDS = 120
# The Deployment that Istio makes for a Gateway lacks but this of what `restricted` asks for.
_RESTRICTED = {
    "spec": {
        "template": {"spec": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}}
    }
}


def gateway_class() -> str | None:
    """The cluster's first GatewayClass that has been accepted; None without one."""
    try:
        found = json.loads(run("kubectl", "get", "gatewayclasses", "--output=json", seconds=30))
    except ToolFailed:  # the cluster does not know the Gateway API
        return None
    # What only describes gateways that others run leads nowhere.
    names = [
        item["metadata"]["name"]
        for item in found["items"]
        if not item["spec"]["controllerName"].endswith("/unmanaged-gateway")
    ]
    return names[0] if names else None


def route() -> dict[str, Any]:
    """The chart's values by which a Gateway leads to the service."""
    return {_SERVICE: {"entry": {"kind": "gateway", "paths": ["/"]}}}


def open_gateway(namespace: Namespace, name: str) -> None:
    """Make a Gateway of this class, and wait until it has an address. Raises ToolFailed."""
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
                # Other controllers than Istio's would not know what it says.
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
    """Where orders are placed, as the pods of the namespace reach it."""
    if gateway_class() is not None:
        gateway = namespace.read(f"gateway.gateway.networking.k8s.io/{_GATEWAY}")
        return f"http://{gateway['status']['addresses'][0]['value']}:{_PORT}"
    port = next(each.http.port for each in platform.services if each.name == _SERVICE)
    return f"http://{_SERVICE}:{port}"
