"""The way of an event out: outbox, relay, stream, recovery."""
