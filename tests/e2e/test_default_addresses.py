"""The default addresses in the settings of the services, which callers use."""

import inspect
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import pytest

from chassis import Service, ServiceSettings

# These ports are promised to users. A service that is added chooses others.
HTTP = {"gateway": 8080, "orders": 8081, "inventory": 8082, "payments": 8083, "notifications": 8084}
GRPC = {"orders": 9081, "inventory": 9082, "payments": 9083, "notifications": 9084}


SERVICES = sorted(entry.name for entry in entry_points(group="slipway.services"))


def service(name: str) -> Service:
    (entry,) = entry_points(group="slipway.services", name=name)
    loaded = entry.load()
    assert isinstance(loaded, Service)
    return loaded


def default(settings: type[ServiceSettings], field: str) -> Any:
    return settings.model_fields[field].get_default(call_default_factory=True, validated_data={})


def test_no_two_services_have_the_same_address() -> None:
    ports = [
        default(service(name).settings_type, field)
        for name in SERVICES
        for field in ("http_port", "grpc_port")
        if field in service(name).settings_type.__annotations__
    ]
    assert len(set(ports)) == len(ports) >= len(HTTP) + len(GRPC)


@pytest.mark.parametrize("name", list(HTTP))
def test_the_services_of_the_shop_have_the_promised_addresses(name: str) -> None:
    settings = service(name).settings_type

    assert default(settings, "http_host") == "127.0.0.1"
    assert default(settings, "http_port") == HTTP[name]
    assert default(settings, "nats_url") == "nats://127.0.0.1:4222"
    if name in GRPC:
        assert default(settings, "grpc_port") == GRPC[name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_calls_others_at_their_addresses(name: str) -> None:
    caller = service(name)

    targets = default(caller.settings_type, "targets")

    called = {contract.full_name.split(".")[1] for contract in caller.calls}
    assert set(targets) == called
    for other in called:
        port = default(service(other).settings_type, "grpc_port")
        assert targets[other] == f"ipv4:127.0.0.1:{port}"


@pytest.mark.parametrize("name", [name for name in SERVICES if service(name).has_database])
def test_each_service_has_another_database_file(name: str) -> None:
    url = default(service(name).settings_type, "database_url").get_secret_value()
    assert url == f"sqlite:///.slipway/data/{name}.db"


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_is_described(name: str) -> None:
    settings = service(name).settings_type
    module = import_module(settings.__module__)

    assert inspect.getdoc(module)
    assert [field for field, info in settings.model_fields.items() if not info.description] == []
