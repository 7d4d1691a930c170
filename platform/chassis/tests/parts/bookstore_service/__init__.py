"""A service for the tests that need a process: `python -m bookstore_service`."""
