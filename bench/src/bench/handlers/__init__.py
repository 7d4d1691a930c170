"""Handlers of events: position, update, published event and commit."""
