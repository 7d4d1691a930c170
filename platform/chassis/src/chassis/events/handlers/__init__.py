"""Handlers of events: declared, bound to their parameters, called."""
