"""The relay: from rows of an outbox to messages that the broker has acknowledged."""
