"""The figures by which a canary is judged: those of what it gets, and the service's laws."""

import json
from collections.abc import Sequence

import yaml

from devkit.canary.analysis import GATES, Gate
from devkit.canary.analysis.laws import read_laws
from devkit.canary.target import Target

__all__ = ["gates_of", "gates_that_apply", "routes_requests"]

_KINDS = {"GRPCRoute", "HTTPRoute", "VirtualService"}
_SERVICE = "app.kubernetes.io/name"
# Metrics of requests that others send; those of events begin with another word.
_OF_REQUESTS = ("http_", "grpc_")


def gates_of(target: Target) -> tuple[Gate, ...]:
    """Return the gates of every service, and the laws of this one (`canary.laws`).

    Raises:
        WrongUsage: a law is not complete.
        ToolFailed: helm refused.
    """
    canary = target.values().get("canary") or {}
    return (*GATES, *read_laws(canary.get("laws") or ()))


def routes_requests(target: Target) -> bool:
    """Return whether a route of the service names its canary. Raises ToolFailed.

    Without a mesh and without a Gateway no requests reach a canary, whatever its weight is.
    """
    manifest = target.namespace.helm("get", "manifest", target.release)
    return any(
        each["kind"] in _KINDS
        and each["metadata"].get("labels", {}).get(_SERVICE) == target.service
        and "canary" in json.dumps(each["spec"])
        for each in yaml.safe_load_all(manifest)
        if each
    )


def gates_that_apply(gates: Sequence[Gate], *, requests: bool) -> list[Gate]:
    """Return the gates of what a canary gets: without `requests`, only those of events and pods."""
    return [
        gate
        for gate in gates
        if requests or not any(name.startswith(_OF_REQUESTS) for name in gate.metrics)
    ]
