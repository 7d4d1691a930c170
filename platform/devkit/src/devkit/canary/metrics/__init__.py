"""Samples for the analysis of a canary: from /metrics of the pods, or from a Prometheus server."""

from devkit.canary.metrics.pod_text import read_pod_text
from devkit.canary.metrics.prometheus import PrometheusSource

__all__ = ["PrometheusSource", "read_pod_text"]
