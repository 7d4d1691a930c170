"""The versions with a weight, which take the events of their lanes only."""

from dataclasses import dataclass

__all__ = ["Canaries"]


@dataclass(frozen=True, slots=True)
class Canaries:
    """The canaries that a member knows: its own version, if it is one, and the running ones.

    `own` is its version if that has a weight, otherwise empty. `takes_events` is whether that
    weight is above 0. `running` are the versions with a weight above 0; None while the other
    members are unknown. No version is a canary if each one has a weight and these leave no rest.
    """

    own: str = ""
    takes_events: bool = True
    running: frozenset[str] | None = frozenset()
