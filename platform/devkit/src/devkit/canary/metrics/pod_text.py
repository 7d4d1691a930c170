"""Prometheus' text format, as /metrics of a pod answers it."""

from collections.abc import Collection

from prometheus_client.parser import text_string_to_metric_families

from devkit.canary.analysis.samples import Samples, Series
from devkit.errors import DevkitError

__all__ = ["read_pod_text"]


def read_pod_text(text: str, names: Collection[str]) -> Samples:
    """Return the samples of these metrics; `metric_names` names those that gates need.

    Raises:
        DevkitError: it is not Prometheus' text format.
    """
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise DevkitError(f"/metrics of a pod cannot be read: {error}") from error
    return {
        Series(sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name in names
    }
