"""Commands of `slipway`: a module for each command that has no folder of its own."""
