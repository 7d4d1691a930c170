"""The event path: handlers in, events out, each taking effect once."""
