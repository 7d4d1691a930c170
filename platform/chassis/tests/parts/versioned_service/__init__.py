"""A service of which several versions run: `python -m versioned_service`."""
