"""The README's code, diagram, make targets and product exist as it says."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from devkit.services import read_services
from devkit.workspace import find_workspace

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_handler_works_as_pasted(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.S)
    first = tmp_path / "first.py"
    first.write_text(code, encoding="utf-8")
    run = subprocess.run([sys.executable, first], capture_output=True, encoding="utf-8", timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert 'order_id: "order-1"' in run.stdout


def test_the_diagram_has_every_event_that_one_service_publishes_and_another_handles() -> None:
    [diagram] = re.findall(r"```mermaid\n(.*?)```", README, re.S)
    drawn = {
        (producer, event, consumer)
        for producer, events, consumers in re.findall(
            r"^  (\w+) -- ([A-Z]\w+(?:, [A-Z]\w+)*) --> ([\w& ]+)$", diagram, re.M
        )
        for event in events.split(", ")
        for consumer in consumers.split(" & ")
    }
    services = [
        import_module(f"{definition.package}.service").service
        for definition in read_services(find_workspace())
    ]
    assert drawn == {
        (producer.name, message.DESCRIPTOR.name, consumer.name)
        for producer in services
        for message in producer.publishes
        for consumer in services
        for router in consumer.events
        for subscription in router.subscriptions
        if subscription.message is message
        if subscription.kind != "broadcast"
    }


def test_every_make_target_it_names_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    targets = set(
        re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    )
    assert {"demo", "test", "run"} <= named <= targets


def test_the_product_it_orders_is_in_the_catalog() -> None:
    from demo.data import products

    [sku] = re.findall(r'"sku": "(\d+)"', README)
    assert sku in products()
