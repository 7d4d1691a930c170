"""What this machine and the cluster lack for each way to deploy: `slipway doctor --cluster`."""
