"""The growth of costs: the same work behind a long backlog, many rows, many types, large events."""
