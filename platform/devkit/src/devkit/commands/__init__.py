"""What `slipway` can be told to do: one module for each command that has no folder of its own."""
