"""The image of a canary, as the values `image` and `canary.image` name it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from devkit.errors import WrongUsage

__all__ = ["NO_IMAGE", "Image"]


@dataclass(frozen=True)
class Image:
    """A tag, a digest (`sha256:…`) or a full reference; all empty for no image."""

    tag: str = ""
    digest: str = ""
    reference: str = ""

    @classmethod
    def named(cls, tag: str, stable: Mapping[str, Any]) -> "Image":
        """Return the image that `--tag` names: a tag or a digest.

        `stable` is the value `image` of the release. If that has a full reference, the canary has
        the same with its own tag or digest.

        Raises:
            WrongUsage: the tag is empty or has a character that no tag has.
        """
        if not tag or set(tag) & set(" /@,={}"):
            raise WrongUsage(f"--tag {tag!r} is neither a tag nor a digest (sha256:…)")
        is_digest = tag.startswith("sha256:")
        if reference := stable.get("reference"):
            return cls(reference=f"{_name(str(reference))}{'@' if is_digest else ':'}{tag}")
        return cls(digest=tag) if is_digest else cls(tag=tag)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Image":
        """Return the image of the value `canary.image`."""
        return cls(*(str(values.get(name) or "") for name in ("tag", "digest", "reference")))

    def __bool__(self) -> bool:
        return self != NO_IMAGE

    def __str__(self) -> str:
        return self.reference or self.digest or self.tag

    def full_name(self, stable: str) -> str:
        """Return its full reference; `stable` is that of the stable pods."""
        if self.reference:
            return self.reference
        name = _name(stable)
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag}"

    def values(self, below: str) -> dict[str, str]:
        """Return the values of the image, by their keys below `below`."""
        return {f"{below}.{name}": value for name, value in asdict(self).items()}


NO_IMAGE = Image()


def _name(reference: str) -> str:
    """Return the registry and the name of a reference, without its tag and digest."""
    name = reference.partition("@")[0]
    head, colon, last = name.rpartition(":")
    return head if colon and "/" not in last else name
