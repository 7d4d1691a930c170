"""Checks of `slipway doctor --cluster`: tools and the cluster, for each way to deploy."""
