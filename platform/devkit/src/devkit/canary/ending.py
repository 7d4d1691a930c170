"""The two ends of a canary: aborted, or promoted to the stable version."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

from devkit.canary.dead_letters import dead_letters_of, redrive_command
from devkit.canary.image import Image
from devkit.canary.lanes import Lanes, read_lanes, take_lanes
from devkit.canary.rollout import RolloutFailed, wait_rolled_out
from devkit.canary.session import Session
from devkit.canary.situation import Situation
from devkit.canary.target import Target
from devkit.canary.waiting import Stop
from devkit.cluster.tools import ToolFailed

__all__ = ["abort", "promote"]

_LANES_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_TAKE_AGAIN_SECONDS = 5.0


def abort(session: Session, situation: Situation, why: str, *, seconds: float) -> None:
    """Give all requests and lanes to the stable version, and delete the canary.

    Dead letters that the canary made within the last `seconds` are listed.

    Raises:
        ToolFailed: helm or the cluster refused; the canary may still serve.
    """
    image, progress = situation.canary, session.progress
    seconds_of_abort = _remove(session, situation, "abort the canary")
    kept = f"stable keeps {image}, which a promotion gave it" if situation.promoted else ""
    text = "; ".join(filter(None, (f"canary {image} aborted: {why}", kept)))
    session.record.add("CanaryAborted", text, warning=True)
    progress.line("aborted", f"{image} is gone after {seconds_of_abort:.1f} s", "bold red")
    if kept:
        progress.line("stable", kept, "yellow")
        progress.line("", f"return: {_way_back(session, image)}")
    _list_dead_letters(session, situation.version, seconds)


def promote(session: Session, situation: Situation) -> None:
    """Make the canary's image the stable one while the canary serves, then end the canary.

    Raises:
        RolloutFailed: the stable pods do not become ready with the image; the canary still serves.
        ToolFailed: helm or the cluster refused.
    """
    progress, image = session.progress, situation.canary
    began = time.monotonic()
    progress.now(f"rolling {image} out to the stable pods")
    session.release.promote(image)
    try:
        wait_rolled_out(session.target, "stable", session.rollout_seconds, session.stop)
    except RolloutFailed as error:
        target = session.target
        text = f"canary {image} still serves, and stable does not run with it: {error}"
        session.record.add("CanaryPromotionFailed", text, warning=True)
        raise RolloutFailed(
            f"{error}\nThe pods of the version before and the canary still serve. Return to them"
            f" by `helm rollback {target.release} --namespace {target.namespace.name}`."
        ) from error
    progress.line("stable", f"{image} is ready after {time.monotonic() - began:.0f} s")
    _remove(session, situation, "end the canary")
    session.record.add("CanaryPromoted", f"canary {image} promoted to stable")
    progress.line("promoted", f"{image} is the stable version", "bold green")


def _way_back(session: Session, image: Image) -> str:
    """Return how a promotion of the image is undone."""
    release = f"{session.target.release} --namespace {session.target.namespace.name}"
    try:
        return session.release.way_back(image) or f"`helm history {release}` shows the revisions"
    except ToolFailed as error:
        return f"`helm history {release}` shows the revisions, which cannot be read now: {error}"


def _remove(session: Session, situation: Situation, why: str) -> float:
    """Delete the canary, and wait until the stable version reads all lanes.

    Lanes are taken from the canary at once, because helm takes longer. Return the seconds until the
    canary was deleted.
    """
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        removed = pool.submit(_removed_at, session, why)
        if situation.lanes:
            _take_lanes(session, removed, began)
        return removed.result() - began


def _removed_at(session: Session, why: str) -> float:
    """Remove the canary from the release; return when it was done."""
    session.release.remove(why)
    return time.monotonic()


def _take_lanes(session: Session, removed: "Future[float]", began: float) -> None:
    """Take all lanes from the canary, and print when the stable version reads them.

    It has a minute for that after the canary was removed.
    """
    # A stop may have been requested already; the lanes are worth some seconds all the same.
    stop, target, progress = Stop(), session.target, session.progress
    take_lanes(target)
    taken = time.monotonic()
    lanes = None
    while not removed.done() or time.monotonic() < removed.result() + _LANES_SECONDS:
        lanes = _lanes_if_read(target)
        if lanes is not None and lanes.are_all_at_stable:
            seconds = time.monotonic() - began
            progress.line("events", f"stable reads all {lanes.stable} lanes after {seconds:.1f} s")
            return
        if time.monotonic() > taken + _TAKE_AGAIN_SECONDS:
            # An upgrade of another service writes the weight again that the release still has.
            take_lanes(target)
            taken = time.monotonic()
        stop.pause(_LOOK_SECONDS)
    unknown = "the lanes cannot be read" if lanes is None else "stable does not read all lanes yet"
    progress.line("events", f"{unknown}; `canary status` shows them", "yellow")


def _lanes_if_read(target: Target) -> Lanes | None:
    """Return the lanes; None if the cluster does not answer, for which no end of a canary waits."""
    try:
        return read_lanes(target)
    except ToolFailed:
        return None


def _list_dead_letters(session: Session, version: str, seconds: float) -> None:
    """Print the dead letters of the canary, and the command that redrives them."""
    progress, target = session.progress, session.target
    redrive = redrive_command(target, version)
    try:
        found = dead_letters_of(target, version, seconds) if version else []
    except ToolFailed as error:
        progress.line("dead", f"the canary's dead letters cannot be listed: {error}")
        return
    if not found:
        progress.line("dead", "the canary made no dead letters")
        return
    for row in found:
        progress.line("dead", f"{row['type']} of key {row['key']}: {row['reason']}")
    session.record.add(
        "CanaryDeadLetters", f"{len(found)} dead letters; redrive: {redrive}", warning=True
    )
    progress.line("", f"stable handles them after: {redrive}")
