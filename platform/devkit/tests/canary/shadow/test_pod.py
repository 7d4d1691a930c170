"""The pod of shadows is like those of the service, but no request reaches it."""

import pytest

from devkit.canary.shadow.pod import shadow_pod
from devkit.canary.shadow.request import Request

pytestmark = pytest.mark.unit

TEMPLATE = {
    "metadata": {
        "labels": {"app": "orders", "track": "stable", "sidecar.istio.io/inject": "true"},
        "annotations": {"kubectl.kubernetes.io/default-container": "app"},
    },
    "spec": {
        "serviceAccountName": "orders",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"runAsNonRoot": True, "fsGroup": 65532},
        "initContainers": [{"name": "migrate"}],
        "containers": [
            {
                "name": "app",
                "image": "registry:5000/slipway/orders:1",
                "env": [
                    {"name": "APP_LOG_LEVEL", "value": "DEBUG"},
                    {"name": "APP_VERSION", "value": "1"},
                ],
                "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {}},
                "resources": {"requests": {"cpu": "100m"}},
                "securityContext": {"readOnlyRootFilesystem": True},
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "canary", "mountPath": "/etc/slipway/canary"},
                ],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "canary", "configMap": {}}],
    },
}


def test_three_containers_of_two_images_record_and_replay() -> None:
    request = Request("orders", 500, calls=["inventory"], handlers=["send_mail"])
    pod = shadow_pod("orders-shadow-1", TEMPLATE, request, "orders:1", "orders:2")
    spec, recording = pod["spec"], "/var/lib/slipway-shadow/recording"
    replay = ["events", "shadow", "--recording", recording, "--allow-calls", "inventory"]
    replay += ["--allow-handler", "send_mail", "--wait", "300"]
    record = ["events", "record", "--events", "500", "--out", recording, "--wait", "60"]
    assert [(c["name"], c["image"], c["args"]) for c in spec["containers"]] == [
        ("record", "orders:2", record),
        ("stable", "orders:1", replay),
        ("canary", "orders:2", replay),
    ]
    for container in spec["containers"]:
        assert container["securityContext"] == {"readOnlyRootFilesystem": True}
        assert [each["value"] for each in container["env"]] == ["1", "ERROR"]
        assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp", "shadow"]
        assert {"ports", "readinessProbe"} & container.keys() == set()
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp", "shadow"]
    assert spec["serviceAccountName"] == "orders"
    assert "initContainers" not in spec


def test_no_service_and_no_track_selects_the_pod_as_one_that_serves() -> None:
    pod = shadow_pod("orders-shadow-1", TEMPLATE, Request("orders", 1), "orders:1", "orders:2")
    assert pod["metadata"]["labels"] == {
        "app": "orders",
        "sidecar.istio.io/inject": "true",
        "slipway/shadow-of": "orders",
    }
    assert pod["spec"]["readinessGates"] == [{"conditionType": "slipway.dev/never-serves"}]
    assert pod["spec"]["restartPolicy"] == "Never"
