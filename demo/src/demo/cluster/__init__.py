"""The demo on a Kubernetes cluster: `slipway cluster-demo`."""
