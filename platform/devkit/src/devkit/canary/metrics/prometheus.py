"""Samples of both sides from a Prometheus server, by its HTTP API."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from devkit.canary.analysis.samples import Pod, Readings, Series
from devkit.errors import DevkitError

__all__ = ["PrometheusSource"]

# Labels that tell where a sample was scraped, not what it measures. Without them, the samples of
# a pod that is scraped by two Services count once.
_OF_TARGET = frozenset(
    {"__name__", "container", "endpoint", "instance", "job", "namespace", "node", "pod", "service"}
    | {"track", "version"}
)


@dataclass(frozen=True)
class PrometheusSource:
    """A Prometheus server that scrapes the pods of both sides.

    Args:
        url: its address, with the path if it has a prefix.
        namespace: the namespace of the pods.
        service: the service, which is the label `job`.
        names: the names of the metrics to read, from `metric_names`.
        since: when the canary began, in epoch seconds: restarts are counted from then on.
        timeout: the seconds after which an answer is given up.
    """

    url: str
    namespace: str
    service: str
    names: frozenset[str]
    since: float
    timeout: float = 10.0

    def read(self) -> Readings:
        """Return the samples of all pods as of now.

        Raises:
            DevkitError: the server does not answer, or refuses the query.
        """
        at = time.time()
        labels = f'namespace="{self.namespace}",job="{self.service}"'
        every = "|".join(sorted(self.names))
        samples: defaultdict[str, dict[Series, float]] = defaultdict(dict)
        tracks: dict[str, str] = {}
        for metric, value in self._query(f'{{__name__=~"{every}",{labels}}}', at):
            own = frozenset((k, v) for k, v in metric.items() if k not in _OF_TARGET)
            pod = metric.get("pod", "")
            samples[pod][Series(metric["__name__"], own)] = value
            tracks[pod] = metric.get("track") or self._track_by_name(pod)
        seconds = max(60, int(at - self.since))
        changes = f"max by (pod) (changes(process_start_time_seconds{{{labels}}}[{seconds}s]))"
        restarts = {metric.get("pod", ""): int(n) for metric, n in self._query(changes, at)}
        pods = {name: Pod(each, restarts.get(name, 0)) for name, each in samples.items() if name}
        stable, canary = (
            {name: pod for name, pod in pods.items() if tracks[name] == track}
            for track in ("stable", "canary")
        )
        return Readings(at, stable, canary)

    def _track_by_name(self, pod: str) -> str:
        """Return the track of a pod that has no label, by the name of its Deployment."""
        canary = rf"{re.escape(self.service)}-canary-[a-z0-9]+-[a-z0-9]+"
        return "canary" if re.fullmatch(canary, pod) else "stable"

    def _query(self, query: str, at: float) -> Iterator[tuple[Mapping[str, str], float]]:
        """Yield labels and value of each sample of an instant query."""
        for sample in self._answer(query, at):
            yield sample["metric"], float(sample["value"][1])

    def _answer(self, query: str, at: float) -> Iterable[Mapping[str, Any]]:
        try:
            answer = httpx.post(
                f"{self.url.rstrip('/')}/api/v1/query",
                data={"query": query, "time": at},
                timeout=self.timeout,
                trust_env=False,
            )
            content = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise DevkitError(
                f"Prometheus at {self.url} does not answer ({error!r}): check the address"
            ) from error
        if content.get("status") != "success":
            raise DevkitError(f"Prometheus at {self.url} refuses: {content.get('error')}")
        found: Iterable[Mapping[str, Any]] = content["data"]["result"]
        return found
