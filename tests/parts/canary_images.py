"""Images of services with a fault in their event handlers, or with none, as canaries of a shop."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from charts import ROOT

from demo.cluster.shop import ClusterShop
from devkit.cluster.images import push_as
from devkit.cluster.tools import run
from devkit.images.docker import docker

__all__ = ["CanaryImages", "Fault", "Version"]

Fault = Literal["none", "fails", "slow", "doubles"]

_FAULTS = Path(__file__).with_name("faulty_handlers.py")
_ROUTER = "events = EventRouter()\n"
_FAULTY_ROUTER = """\
from {service}.faulty_handlers import FaultyRouter
events = FaultyRouter()
"""
_AMOUNT = "Money(amount=payment.amount,"
_PUBLISHED = "Money(amount=published(payment.amount),"
_IMPORT = "from payments.tables import LedgerRow, Payment\n"
_IMPORTS = f"from payments.faulty_handlers import published\n{_IMPORT}"
# The image has bytecode that is used without a look at the source.
_CHANGED = """\
FROM {image}
USER root
COPY *.py /app/{service}/
RUN rm -r /app/{service}/__pycache__
USER 65532:65532
"""
_VERSION = """\
FROM {image}
ENV CANARY_FAULT={fault} CANARY_HANDLER={handler} CANARY_SEED={seed}
"""


@dataclass(frozen=True)
class Version:
    """A version of a service: its fault, the handler that has it, and the seed of its keys.

    All handlers have the fault if `handler` is empty.
    """

    service: str
    fault: Fault
    seed: int = 1
    handler: str = ""

    @property
    def name(self) -> str:
        """The end of the tag, after that of the stable version."""
        return f"{'good' if self.fault == 'none' else self.fault}-{self.seed}"


@dataclass
class CanaryImages:
    """Images of a shop's services; those of one service differ in their environment only."""

    shop: ClusterShop
    _changed: set[str] = field(default_factory=set)

    def push(self, version: Version) -> str:
        """Build and push the image of a version, and return its tag."""
        image = f"slipway-{version.service}"
        changed = f"{image}:{self.shop.tag}-changed"
        if changed not in self._changed:
            self._build(
                changed,
                self._sources(version.service),
                _CHANGED.format(image=f"{image}:{self.shop.tag}", service=version.service),
            )
            self._changed.add(changed)
        tag = f"{self.shop.tag}-{version.name}"
        fault = "" if version.fault == "none" else version.fault
        self._build(
            f"{image}:{tag}",
            {},
            _VERSION.format(image=changed, fault=fault, handler=version.handler, seed=version.seed),
        )
        push_as(self.shop.workspace, f"{image}:{tag}", f"{image}:{tag}", self.shop.registry)
        return tag

    def _sources(self, service: str) -> dict[str, str]:
        """Return the changed modules of a service by their names."""
        folder = ROOT / "services" / service / "src" / service
        changes = [("handlers.py", _ROUTER, _FAULTY_ROUTER.format(service=service))]
        if service == "payments":
            changes += [("mapping.py", _AMOUNT, _PUBLISHED), ("mapping.py", _IMPORT, _IMPORTS)]
        sources = {_FAULTS.name: _FAULTS.read_text(encoding="utf-8")}
        for name, before, after in changes:
            text = sources.get(name) or (folder / name).read_text(encoding="utf-8")
            assert before in text
            sources[name] = text.replace(before, after)
        return sources

    def _build(self, name: str, sources: dict[str, str], dockerfile: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for file, text in {**sources, "Dockerfile": dockerfile}.items():
                (Path(folder) / file).write_text(text, encoding="utf-8")
            run(docker(), "build", "--quiet", "--tag", name, folder, seconds=300)
