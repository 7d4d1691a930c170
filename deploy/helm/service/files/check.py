"""The test of `helm test`: a service's probes, its gRPC health, and the script in its values.

Arguments: the service's HTTP address, its gRPC address or an empty string, and the script.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 60
http, grpc_address, script = sys.argv[1:]
ends_at = time.monotonic() + SECONDS


def until(what: str, done: Any) -> Any:
    """Call `done` until its result is true, and return the result; exit after 60 seconds.

    A pod's address appears in DNS and in the policies of nodes some seconds after the pod.
    """
    last: object = None
    while time.monotonic() < ends_at:
        try:
            if last := done():
                print(f"ok: {what}", flush=True)
                return last
        except (OSError, grpc.RpcError) as error:
            last = error
        time.sleep(0.5)
    sys.exit(f"failed: {what}, after {SECONDS} seconds: {last}")


def get(path: str) -> Any:
    """Return the JSON of the answer to a GET request."""
    return send(urllib.request.Request(http + path))


def post(path: str, body: object) -> Any:
    """Return the JSON of the answer to a POST request."""
    content = {"content-type": "application/json"}
    return send(urllib.request.Request(http + path, json.dumps(body).encode(), content))


def send(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise OSError(f"{error}: {error.read().decode()}") from error


def serving() -> bool:
    with grpc.insecure_channel(grpc_address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=10
        )
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


for probe in ("/startupz", "/livez", "/readyz"):
    until(probe, lambda probe=probe: get(probe))
if grpc_address:
    until("gRPC health", serving)
exec(script)
