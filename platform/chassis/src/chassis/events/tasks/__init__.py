"""Events that are handled outside their batch: stored, claimed, tried again, dead letters."""
