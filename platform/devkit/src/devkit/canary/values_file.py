"""A file of values of a deployment from a repository, in which a canary is written."""

import json
from dataclasses import asdict
from pathlib import Path

import yaml

from devkit.canary.image import Image
from devkit.canary.release import Values, promoted_values, started_values, without_canary
from devkit.canary.yaml_edit import get_value, set_value
from devkit.errors import WrongUsage

__all__ = ["ValuesFile"]

# Keys of the chart of one service, whose values are not below the service's name.
_OF_ONE_SERVICE = {"canary", "facts", "image", "replicas", "settings"}


class ValuesFile:
    """The values of a service in a file; each change writes it and returns what has changed.

    The values are below the service's name, as in the umbrella chart, unless the file is one of the
    service alone: if it is named after the service, is in its folder, or has keys of its chart.

    Raises:
        CannotEdit: as `set_value`.
    """

    def __init__(self, path: Path, service: str) -> None:
        self._path = path
        self._service = service
        self._text = path.read_text(encoding="utf-8") if path.exists() else ""
        self._below = () if self._is_of_one_service() else (service,)

    def start(self, tag: str, weight: int) -> tuple[list[str], bool]:
        """Write a canary of this tag, or give it this weight if the file has it already.

        Requests that are led to pods that are not ready yet are answered 503, so that the canary
        has to be deployed in between. Return the changes, and whether it has its weight.

        Raises:
            WrongUsage: the file has another canary, or this one has another weight.
        """
        stable = {name: self._read("image", name) or "" for name in asdict(Image())}
        image = Image.named(tag, stable)
        if str(self._canary) not in ("", str(image)):
            raise WrongUsage(f"{self._path} has a canary {self._canary}: abort or promote it first")
        if str(Image.of(stable)) == str(image):
            raise WrongUsage(f"{image} is the stable version already: give the canary another tag")
        if not self._canary:
            return self._write(started_values(image)), False
        given = int(self._read("canary", "weight") or 0)
        if given not in (0, weight):
            raise WrongUsage(
                f"the canary in {self._path} has {given} % already: change it by"
                f" `slipway canary weight {self._service}={weight} --write {self._path}`"
            )
        return self._write({"canary.weight": weight}), True

    def set_weight(self, weight: int) -> list[str]:
        """Write another weight. Raises WrongUsage if there is no canary."""
        self._need_canary()
        return self._write({"canary.weight": weight})

    def promote(self) -> tuple[list[str], bool]:
        """Write the canary's image as the stable one, or end the canary if it is that already.

        Return the changes, and whether the canary is ended. Raises WrongUsage without a canary.
        """
        canary = self._need_canary()
        if self.promoted:
            return self.abort(), True
        return self._write(promoted_values(canary)), False

    def abort(self) -> list[str]:
        """Write that there is no canary."""
        return self._write(without_canary())

    @property
    def promoted(self) -> str:
        """The canary's image if it is the stable one, too; empty if it is not."""
        stable = Image.of({name: self._read("image", name) for name in asdict(self._canary)})
        return str(self._canary) if self._canary == stable else ""

    @property
    def _canary(self) -> Image:
        return Image.of({name: self._read("canary", "image", name) for name in asdict(Image())})

    def _need_canary(self) -> Image:
        if not self._canary:
            raise WrongUsage(f"{self._path} has no canary of {self._service}: start one first")
        return self._canary

    def _read(self, *path: str) -> str | None:
        return get_value(self._text, (*self._below, *path))

    def _write(self, values: Values) -> list[str]:
        """Set values; an empty one is added only where it replaces another."""
        changes = []
        for name, value in values.items():
            path = (*self._below, *name.split("."))
            before = get_value(self._text, path)
            after = value if isinstance(value, str) else json.dumps(value)
            if before == after or (before is None and not value):
                continue
            self._text = set_value(self._text, path, value)
            shown = [each or "none" for each in (before or "", after)]
            changes.append(f"{'.'.join(path)}: {' → '.join(shown)}")
        if changes:
            self._path.write_text(self._text, encoding="utf-8")
        return changes

    def _is_of_one_service(self) -> bool:
        keys = _keys(self._text)
        if self._service in keys:
            return False
        in_its_folder = self._path.resolve().parts[-3:-1] == (self._service, "deploy")
        return self._path.stem == self._service or in_its_folder or bool(keys & _OF_ONE_SERVICE)


def _keys(text: str) -> set[str]:
    """Return the keys at the top of a file; none if it has no table of values."""
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError:
        return set()
    return set(loaded) if isinstance(loaded, dict) else set()
