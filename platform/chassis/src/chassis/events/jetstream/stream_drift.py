"""The settings of a stream that endanger a promise of the platform, and what to do about them."""

from collections.abc import Mapping
from typing import Any

from chassis.event_settings import EventSettings

__all__ = ["ADDED_BYTES", "drift"]

# The headers that the relay adds to an event have up to this many bytes: number, rank, sequence,
# generations and batch.
ADDED_BYTES = 1024
_READERS_INACTIVE_SECONDS = 30.0


def drift(config: Mapping[str, Any], settings: EventSettings) -> list[str]:
    """Return a line for each differing setting: its value, what follows from it, and what to do.

    Operators may change a stream. The service continues as well as it can, and reports the
    promises that it can no longer keep.
    """
    name = config.get("name", "")
    return [
        f"{setting}: {follows}; {cure.format(stream=name)}"
        for setting, follows, cure in (
            *_find_losses(config, settings),
            *_find_refusals(config, settings),
        )
    ]


Line = tuple[str, str, str]


def _find_losses(config: Mapping[str, Any], settings: EventSettings) -> list[Line]:
    """Return the settings by which the stream loses events before all consumers have read them."""
    lines: list[Line] = []
    age, wanted = float(config.get("max_age", 0)) / 1e9, settings.stream_max_age_seconds
    if age != wanted:
        follows = (
            "it keeps events forever, and so does the outbox"
            if not age
            else "events are deleted sooner than their consumers expect"
            if age < wanted
            else "the outbox keeps sent events for the same time"
        )
        lines.append(
            (
                f"max_age {age:g} s, wanted {wanted:g} s",
                follows,
                f"nats stream edit {{stream}} --max-age={wanted:g}s, or change "
                "APP_STREAM_MAX_AGE_SECONDS",
            )
        )
    discards_new = config.get("discard") == "new"
    for limit in ("max_msgs", "max_bytes", "max_msgs_per_subject"):
        value = int(config.get(limit, -1))
        if value <= 0:
            continue
        per_subject = limit == "max_msgs_per_subject"
        refuses = discards_new and (not per_subject or config.get("discard_new_per_subject"))
        follows = (
            "a full stream accepts no more events, and they wait in the outbox"
            if refuses
            else "the oldest events are deleted at any age, even if consumers have not read them"
        )
        option = limit.replace("_", "-")
        lines.append((f"{limit} {value}", follows, f"nats stream edit {{stream}} --{option}=-1"))
    if config.get("retention") != "limits":
        lines.append(
            (
                f"retention {config.get('retention')!r}, wanted 'limits'",
                "events are deleted when a consumer of the broker has seen them",
                "recreate the stream: it is filled again from the outbox",
            )
        )
    if config.get("storage") == "memory":
        lines.append(
            (
                "storage 'memory'",
                "each restart of the broker empties it, and it is filled again from the outbox",
                "recreate the stream",
            )
        )
    replicas = config.get("num_replicas")
    if replicas != settings.stream_replicas:
        lines.append(
            (
                f"num_replicas {replicas}, wanted {settings.stream_replicas}",
                "it survives the loss of fewer or more servers than intended",
                f"nats stream edit {{stream}} --replicas={settings.stream_replicas}, or change "
                "APP_STREAM_REPLICAS",
            )
        )
    if config.get("subject_transform"):
        lines.append(
            (
                "subject_transform is set",
                "events arrive under other subjects than those that are read",
                "remove it from the stream's configuration",
            )
        )
    return lines


def _find_refusals(config: Mapping[str, Any], settings: EventSettings) -> list[Line]:
    """Return the settings that keep events out of the stream, or consumers from reading it."""
    lines: list[Line] = []
    size, largest = int(config.get("max_msg_size", -1)), settings.event_max_bytes + ADDED_BYTES
    if 0 <= size < largest:
        lines.append(
            (
                f"max_msg_size {size}, wanted {largest} or more",
                "larger events are set apart",
                f"nats stream edit {{stream}} --max-msg-size={largest}, then outbox resend --all; "
                f"or lower APP_EVENT_MAX_BYTES to {max(0, size - ADDED_BYTES)}",
            )
        )
    if not config.get("allow_batched"):
        lines.append(
            (
                "allow_batched is off",
                "events are published one by one",
                "set allow_batched in the stream's configuration",
            )
        )
    if not config.get("allow_direct"):
        lines.append(
            (
                "allow_direct is off",
                "readers cannot request missing events",
                "nats stream edit {stream} --allow-direct",
            )
        )
    if config.get("sealed"):
        lines.append(("sealed", "it accepts no more events", "recreate the stream"))
    if config.get("mirror"):
        lines.append(
            ("mirror is set", "it accepts events only from there", "recreate the stream without it")
        )
    if config.get("no_ack"):
        lines.append(
            (
                "no_ack",
                "each batch times out, and is found by asking for the stream's end",
                "nats stream edit {stream} --ack",
            )
        )
    inactive = float(config.get("consumer_limits", {}).get("inactive_threshold", 0)) / 1e9
    if 0 < inactive < _READERS_INACTIVE_SECONDS:
        lines.append(
            (
                f"consumer_limits.inactive_threshold {inactive:g} s",
                f"readers ask for {_READERS_INACTIVE_SECONDS:g} s and are refused",
                "raise or remove it in the stream's configuration",
            )
        )
    return lines
