"""`slipway canary shadow`: two versions of a service replay the same events and are compared."""
