"""The developer's tools of a Slipway platform: the command `slipway`, and the runner behind it."""
