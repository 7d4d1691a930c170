"""Where the attributes are among a message's headers, kept for each set of header names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

from chassis.events.wire.attributes import KNOWN, extensions_among

__all__ = ["HeaderLayout", "layout_of"]

# A producer uses few sets of headers.
_KEPT = 256


@dataclass(frozen=True, slots=True)
class HeaderLayout:
    """The places of a message's attributes among the values of its headers and one empty text.

    `texts` takes these values and returns the attribute of each of `names`: the known ones first,
    empty if they are absent, then the extensions.
    """

    names: Sequence[str]
    texts: Callable[[Sequence[str]], Sequence[str]]
    content_type: int


@lru_cache(_KEPT)
def layout_of(headers: tuple[str, ...]) -> HeaderLayout:
    """Return the layout of messages that have headers of these names, of which case is ignored."""
    places = {header.lower(): place for place, header in enumerate(headers)}
    attributes = {name[3:]: place for name, place in places.items() if name[:3] == "ce-"}
    return _layout(attributes, len(headers), places.get("content-type", len(headers)))


@lru_cache(_KEPT)
def layout_of_members(members: tuple[str, ...]) -> HeaderLayout:
    """Return the layout of payloads in structured mode whose members have these names."""
    places = {name: place for place, name in enumerate(members) if name != "data_base64"}
    return _layout(places, len(members), len(members))


def _layout(attributes: Mapping[str, int], absent: int, content_type: int) -> HeaderLayout:
    names = (*KNOWN, *extensions_among(attributes))
    return HeaderLayout(
        names, itemgetter(*(attributes.get(name, absent) for name in names)), content_type
    )
