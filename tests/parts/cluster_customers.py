"""Customers who order from the demo's pod while a test does something to the shop."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from demo.cluster.shop import ClusterShop

__all__ = ["Customers", "Seen"]

_SCRIPT = Path(__file__).with_name("ordering_in_the_pod.py")


@dataclass
class Seen:
    """Answers to the customers during an action; filled in when the action has ended."""

    placed: int = 0
    """Number of orders accepted until the last running request ended."""
    failed: dict[str, int] = field(default_factory=dict)
    """Requests that were not answered with 202, by status or by the kind of lost connection."""
    broken: dict[str, list[str]] = field(default_factory=dict)
    """Broken laws after all orders have ended, with their cases, and what has not ended."""


class Customers:
    """Eight customers who order through the shop's entry."""

    def __init__(self, shop: ClusterShop) -> None:
        code = _SCRIPT.read_text(encoding="utf-8")
        command = shop.pod.command("python", "-c", code, *shop.addresses)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    @contextmanager
    def ordering(self, per_second: float = 8, first: int = 10) -> Iterator[Seen]:
        """Place orders at a constant rate within the context.

        It begins after the `first` orders were placed. It ends when all orders have ended and the
        laws have been checked over everything since the customers started.
        """
        seen = Seen()
        before = self._ask(f"order {per_second}")
        self._placed(before["placed"] + first)
        began = self._ask("look")["placed"]
        try:
            yield seen
        except BaseException:
            self._ask("rest")
            raise
        now = self._placed(self._ask("look")["placed"] + first)
        seen.placed = now["placed"] - began
        end = self._ask("rest")
        seen.failed = _more(end["sent_again"], before["sent_again"])
        for refusal in end["refused"][len(before["refused"]) :]:
            seen.failed[refusal] = seen.failed.get(refusal, 0) + 1
        # Shown by `make cluster-test ARGS=-rP`.
        print(f"{seen.placed:,} orders were taken meanwhile; failed: {seen.failed or 'none'}")
        seen.broken = {**end["broken"], **({"open": end["open"]} if end["open"] else {})}

    def look(self) -> int:
        """Return the number of orders that have been accepted."""
        return int(self._ask("look")["placed"])

    def _placed(self, orders: int) -> dict[str, Any]:
        while (now := self._ask("look"))["placed"] < orders:
            assert now["ordering"], f"the customers have stopped: {now}"
        return now

    def _ask(self, words: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the customers' process has ended; its pod or the way to it is gone"
        answer: dict[str, Any] = json.loads(line)
        assert "stopped" not in answer, answer["stopped"]
        return answer


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {key: n - before.get(key, 0) for key, n in now.items() if n != before.get(key, 0)}
